"""From a form to a decision."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from starlette.datastructures import FormData

from pipelines.decisions import DAY_MS, end_of_day
from pipelines.report.story import Cluster
from pipelines.triage.people import Person
from pipelines.triage.queue import Queue
from schemas.errors import DistilwatchError
from transforms.alerts.dispositions import DECISIONS, HOLDS_DAYS, WITHDRAW, Disposition, decide

SOURCE = "triage"

DONE = {
    "confirm": "Confirmed",
    "dismiss": "Dismissed",
    "permitted": "Marked as permitted",
    "watch": "Watched",
    "split": "Split",
    "merge": "Merged",
    WITHDRAW: "Taken back",
}


@dataclass(frozen=True, slots=True)
class Draft:
    """What stood in the form, to show it again when something is wrong with it."""

    decision: str = ""
    why: str = ""
    until: str = ""
    accounts: tuple[str, ...] = ()
    other: str = ""
    seen: str = ""


def mark_of(cluster: Cluster, held: Iterable[Disposition] = ()) -> str:
    """Changes with what a decision is about: who belongs to a cluster, how grave it is, and what
    was decided about it already.

    Args:
      cluster: that is decided about.
      held: decisions on it that hold, in any order.
    """
    told = [cluster.severity, *sorted(m.account for m in cluster.members)]
    # Ends what comes before, so that no account can stand for a decision.
    told += ["\x1e", *sorted(f"{row.name}/{row.revision}" for row in held)]
    return blake2b("\x1f".join(told).encode(), digest_size=12).hexdigest()


def draft_of(form: FormData) -> Draft:
    """What was filled in."""

    def text(name: str) -> str:
        value = form.get(name)
        return value.strip() if isinstance(value, str) else ""

    accounts = tuple(v for v in form.getlist("account") if isinstance(v, str))
    words = (text("decision"), text("why"), text("until"))
    return Draft(*words, accounts, text("other"), text("seen"))


def decision_of(
    cluster: Cluster,
    draft: Draft,
    person: Person,
    queue: Queue,
    held: Sequence[Disposition] = (),
) -> Disposition:
    """The decision that a form asks for.

    Args:
      cluster: that it is about.
      draft: what was filled in.
      person: who decides.
      queue: where other clusters are.
      held: decisions on this one that hold, the newest first.

    Raises:
      DistilwatchError: naming what is wrong with it.
    """
    now_ms = int(time.time() * 1000)
    if draft.decision not in DECISIONS:
        raise DistilwatchError(
            "nothing was decided", "decision", "press the button of what you decide"
        )
    if draft.seen != mark_of(cluster, held):
        raise DistilwatchError(
            f"this cluster has changed since the page was loaded: it is of severity "
            f"{cluster.severity} now, with {len(cluster.members):,} accounts{_by(held)}",
            cluster.cluster_id,
            "look at it again, then send your decision once more",
        )
    regroups = draft.decision in ("split", "merge")
    until_ms = None if regroups else _until(draft, now_ms)
    others: Sequence[str] = ()
    if draft.decision == "merge":
        others = queue.find(draft.other) if draft.other else []
        if len(others) != 1:
            raise DistilwatchError(
                f"{len(others) or 'no'} clusters begin with {draft.other!r}"
                if draft.other
                else "no other cluster is named",
                "merge with",
                "give the id of the other cluster",
            )
    row = {
        "cluster_id": cluster.cluster_id,
        "revision": cluster.revision,
        "severity": cluster.severity,
        "exposure_usd": cluster.exposure_usd,
    }
    return decide(
        row,
        [m.account for m in cluster.members],
        draft.decision,
        by=person.name,
        why=draft.why,
        at_ms=now_ms,
        until_ms=until_ms,
        split_accounts=draft.accounts if draft.decision == "split" else (),
        merge_with=others,
        source=SOURCE,
        merged=[queue.held(other) for other in others],
    )


def _by(held: Sequence[Disposition]) -> str:
    """Who decided last what holds."""
    if not held:
        return ""
    return f", and {DONE[held[0].decision].lower()} by {held[0].decided_by}"


def _until(draft: Draft, now_ms: int) -> int | None:
    """The end of the named day; else what is usual for the decision."""
    if draft.until:
        try:
            return end_of_day(draft.until)
        except ValueError:
            raise DistilwatchError(
                f"{draft.until!r} is no date", "until", "write it like 2026-12-31"
            ) from None
    days = HOLDS_DAYS.get(draft.decision)
    return None if days is None else now_ms + days * DAY_MS


def may_undo(row: Disposition, person: Person) -> bool:
    """Responders undo their own decisions, admins all."""
    own = row.decided_by == person.name and person.may("responder")
    return row.decision != WITHDRAW and (own or person.may("admin"))
