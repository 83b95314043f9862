"""What the settings name, and the bundle: whether it is there, and can be used."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import DistilwatchError, how_to_install

if TYPE_CHECKING:
    from pipelines.config import Config


def check_bundle(folder: Path) -> None:
    """Raises DistilwatchError when a bundle is missing, changed, unsigned, or does not fit."""
    from transforms.scoring.bundle import verify_bundle
    from transforms.scoring.store import bundle_folder

    verify_bundle(bundle_folder(folder))


def check_detectors(config: Config) -> None:
    """Raises DistilwatchError when a PyOD detector cannot be loaded or refuses its arguments."""
    import inspect

    from transforms.scoring.detectors import detector_class

    for i, detector in enumerate(config.scoring.detectors):
        accepted = list(inspect.signature(detector_class(detector.name)).parameters)
        for name in detector.params:
            if name not in accepted and "kwargs" not in accepted:
                near = difflib.get_close_matches(name, accepted, n=2)
                raise DistilwatchError(
                    f"{detector.name} has no argument {name!r}",
                    f"scoring.detectors[{i}].params",
                    f"did you mean {' or '.join(near)}?"
                    if near
                    else f"it accepts {', '.join(accepted)}",
                )


def check_known_texts(config: Config) -> None:
    """Raises DistilwatchError when a file of known texts cannot be used."""
    if config.ingest.known_texts:
        from pipelines.parts import known_texts

        known_texts(config)


def check_watch_list(config: Config) -> None:
    """Raises DistilwatchError when the watch list that is named cannot be used."""
    if config.watch.list:
        from transforms.sharing.watch.listing import read_watch_list

        read_watch_list(Path(config.watch.list))


def check_on_call(config: Config) -> None:
    """Raises DistilwatchError when policies, channels, allowlist or a secret cannot be used."""
    from pipelines.oncall import check_rules

    check_rules(config.alerts)


def check_registry(config: Config) -> None:
    """Raises DistilwatchError when the schema registry does not answer, or refuses us."""
    from pipelines.parts import schema_registry

    registry = schema_registry(config)
    if registry is not None:
        registry.check()


def check_format(config: Config, inputs: Sequence[str]) -> None:
    """Raises DistilwatchError when inputs of a gateway's format cannot be read."""
    form = config.ingest.format
    if form == "events":
        return
    for uri in inputs:
        if uri.startswith("bigquery://"):
            raise DistilwatchError(
                f"a table has columns, and is not read as {form}",
                uri,
                "leave ingest.format at events for tables; a view can rename columns",
            )
    if form == "otlp" and any(uri.startswith("kafka://") for uri in inputs):
        from importlib.util import find_spec

        if find_spec("opentelemetry") is None or find_spec("opentelemetry.proto") is None:
            raise DistilwatchError(
                "OTLP on topics is protobuf unless its exporter says otherwise, and "
                "opentelemetry-proto is not installed",
                "ingest.format",
                how_to_install("otlp"),
            )


def check_letter_keys(config: Config) -> None:
    """Raises DistilwatchError when the keys that seal dead letters are named and not there."""
    from transforms.ingest.sealing import letter_keys

    letter_keys(config.ingest.dead_letter_key_env)
