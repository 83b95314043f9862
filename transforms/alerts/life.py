"""The life of an alert, without a clock, a file or a network.

There is one alert for each cluster at a time. `advance` takes the alert as it is, the newest that
is known of its cluster, and what people said about it, and gives the alert as it becomes and the
steps that it made. The same news again makes no step, and older news makes none either: so a
replay, a restart or another order of rows tells nobody anything twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

from transforms.alerts.paging import Growth
from transforms.alerts.policy import SEVERITIES
from transforms.alerts.wording import dollars

State = Literal["none", "open", "acknowledged", "resolved"]
LIVE: tuple[State, ...] = ("open", "acknowledged")
"""States of an alert that is not over."""
StepKind = Literal["opened", "raised", "updated", "acknowledged", "resolved"]


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of a cluster, and what the policies make of it.

    Attributes:
      cluster_id, window_start, revision: which row of `flagged_clusters`.
      flagged: whether it still is.
      policy, policy_version: that makes an alert of it; "" for none.
      severity: of that alert.
      cluster_severity: of the row; the policy may have another opinion.
      account_count, request_count, exposure_usd, p_value, q_value, event_time, run_id,
        bundle_version: of the row; times are milliseconds UTC.
      merged_into: of a cluster that is no more.
    """

    cluster_id: str
    window_start: int
    revision: int
    flagged: bool
    policy: str = ""
    policy_version: str = ""
    severity: str = "low"
    cluster_severity: str = "low"
    account_count: int = 1
    request_count: int = 0
    exposure_usd: float = 0.0
    p_value: float | None = None
    q_value: float | None = None
    event_time: int | None = None
    run_id: str | None = None
    bundle_version: str | None = None
    merged_into: str = ""

    @property
    def position(self) -> tuple[int, int]:
        """Grows with what is known."""
        return self.window_start, self.revision


class Standing(NamedTuple):
    """What people said about a cluster.

    Attributes:
      quiet: it alerts nobody.
      seen: somebody has it in hand, so it is acknowledged.
      patient: it is told again only when it is graver than ever.
      why: in words; of a decision that holds no more because the cluster outgrew it, that.
      disposition_id: of the decision that holds; "" for an allowlist.
      decision: that holds, of `dispositions.DECISIONS`; "" for an allowlist.
    """

    quiet: bool = False
    seen: bool = False
    patient: bool = False
    why: str = ""
    disposition_id: str = ""
    decision: str = ""


NOTHING_SAID = Standing()


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as it is.

    Attributes:
      observation: the newest that is known.
      state: where it stands.
      episode: alerts that the cluster has had.
      revision: steps that this one made.
      peak: gravest severity that was told; "" before there was one.
      told_accounts, told_exposure: as told last.
      opened_at: milliseconds UTC.
      seen_by: decision that acknowledged it last.
      storm_id: alert of the storm that it is told in.
    """

    observation: Observation
    state: State = "none"
    episode: int = 0
    revision: int = 0
    peak: str = ""
    told_accounts: int = 0
    told_exposure: float = 0.0
    opened_at: int = 0
    seen_by: str = ""
    storm_id: str = ""

    def name(self, namespace: str = "") -> str:
        """Its id; the same for the same cluster and episode."""
        text = f"{namespace}\x1f{self.observation.cluster_id}\x1f{self.episode}"
        return f"a-{blake2b(text.encode(), digest_size=8).hexdigest()}"


class Step(NamedTuple):
    """A step of an alert's life, and the alert after it."""

    kind: StepKind
    reason: str
    alert: Alert
    disposition_id: str = ""


def advance(
    alert: Alert | None, news: Observation, said: Standing, growth: Growth, now_ms: int
) -> tuple[Alert, list[Step]]:
    """What becomes of an alert.

    Args:
      alert: as it is; None for a cluster that never had one.
      news: of the cluster.
      said: what holds of it now.
      growth: when it is told again at the same severity.
      now_ms: milliseconds UTC, for `opened_at`.

    Returns:
      The alert, and the steps that it made, at most one.
    """
    alert = Alert(news) if alert is None else alert
    if news.position >= alert.observation.position:
        alert = replace(alert, observation=news)
    steps = [
        Step(kind, reason, after, said.disposition_id)
        for kind, reason, after in _moves(alert, said, growth, now_ms)
    ]
    return (steps[-1].alert if steps else alert), steps


def _moves(
    alert: Alert, said: Standing, growth: Growth, now_ms: int
) -> Iterator[tuple[StepKind, str, Alert]]:
    news, live = alert.observation, alert.state in LIVE
    if not news.flagged or not news.policy or said.quiet:
        if live:
            yield "resolved", _why_over(news, said), _next(alert, "resolved", seen_by="")
        return
    told: dict[str, Any] = {
        "told_accounts": news.account_count, "told_exposure": news.exposure_usd,
    }  # fmt: skip
    if not live:
        state: State = "acknowledged" if said.seen else "open"
        yield (
            "opened",
            said.why or "flagged",
            replace(
                alert, state=state, episode=alert.episode + 1, revision=1, peak=news.severity,
                opened_at=now_ms, seen_by=said.disposition_id, storm_id="", **told,
            ),
        )  # fmt: skip
    elif SEVERITIES.index(news.severity) > SEVERITIES.index(alert.peak):
        why = f"{alert.peak} before, {news.severity} now"
        seen_by = said.disposition_id
        yield "raised", why, _next(alert, "open", peak=news.severity, seen_by=seen_by, **told)
    elif said.seen and said.disposition_id != alert.seen_by:
        # Whoever has it in hand has seen how large it is by now.
        seen_by = said.disposition_id
        yield "acknowledged", said.why, _next(alert, "acknowledged", seen_by=seen_by, **told)
    elif alert.state == "acknowledged" and not said.seen:
        yield "updated", "the decision no longer holds", _next(alert, "open", seen_by="", **told)
    elif not said.patient and (
        news.account_count >= growth.accounts * max(alert.told_accounts, 1)
        or news.exposure_usd >= growth.exposure * max(alert.told_exposure, 1.0)
    ):
        why = f"grown from {alert.told_accounts:,} accounts to {news.account_count:,}"
        if news.account_count < growth.accounts * max(alert.told_accounts, 1):
            why = f"grown from {dollars(alert.told_exposure)} to {dollars(news.exposure_usd)}"
        yield "updated", why, _next(alert, alert.state, **told)


def _next(alert: Alert, state: State, **changes: Any) -> Alert:
    return replace(alert, state=state, revision=alert.revision + 1, **changes)


def _why_over(news: Observation, said: Standing) -> str:
    if said.quiet:
        return said.why
    if news.merged_into:
        return f"its accounts are in {news.merged_into} now"
    return "no policy makes an alert of it any more" if news.flagged else "no longer flagged"


def pack(alert: Alert) -> dict[str, Any]:
    """An alert as plain values."""
    return asdict(alert)


def unpack(values: dict[str, Any]) -> Alert:
    """The alert that `pack` made values of."""
    return Alert(**(values | {"observation": Observation(**values["observation"])}))
