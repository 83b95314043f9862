"""What of a watch list is live: trust comes from the settings, and a dry run's verdict stays."""

from __future__ import annotations

import msgspec

from pipelines.config import Config
from pipelines.settings import SourceConfig
from transforms.sharing.watch.listing import LIVE, QUARANTINED, Watched


def first_state(source: SourceConfig | None) -> str:
    """State of what was never tried: live at once where its lab is trusted and need not be tried
    first."""
    return LIVE if source is not None and source.trust and not source.tried_first else QUARANTINED


def source_of(config: Config, lab: str) -> SourceConfig | None:
    """What the settings say of a lab."""
    return next((source for source in config.watch.sources if source.name == lab), None)


def renewed(one: Watched, before: Watched | None) -> Watched:
    """An indicator that comes again, in the state that it had.

    What was live stays so as long as it says the same: a version with another payload, or that is
    surer of itself, was not tried. What a dry run has held back stays back, however sure it is.
    """
    if before is None or _says(one) != _says(before):
        return one
    if before.failed:
        return msgspec.structs.replace(one, state=QUARANTINED, failed=True)
    if before.state == LIVE and one.confidence <= before.confidence:
        return msgspec.structs.replace(one, state=LIVE)
    return one


def judged(one: Watched, passes: bool) -> Watched:
    """An indicator after a dry run."""
    state = LIVE if passes else QUARANTINED
    return msgspec.structs.replace(one, state=state, failed=not passes)


def _says(one: Watched) -> tuple[str, str, str, str]:
    return one.kind, one.value, one.source, one.payload
