"""The desk: what is flagged comes in, alerts live, and what people must know goes into the outbox.

All that one look changes is one transaction of the book: states, steps and messages. Nothing is
sent here; see `transforms.alerts.sender`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from transforms.alerts.allowlist import Allowlist
from transforms.alerts.book import Book, Known
from transforms.alerts.dispositions import Disposition
from transforms.alerts.life import LIVE, Alert, Observation, Step, advance
from transforms.alerts.notice import about, notice
from transforms.alerts.paging import Growth, Policies, Policy
from transforms.alerts.policy import SEVERITIES
from transforms.alerts.routing import Channels
from transforms.alerts.rules import Rules
from transforms.alerts.standing import Standings
from transforms.alerts.storms import Storms

Row = Mapping[str, Any]
RESOLVED = "resolved"
_NO_GROWTH = Growth()


def observe(row: Row, policies: Policies) -> Observation:
    """What the policies make of a row of `flagged_clusters`, times in milliseconds UTC."""
    flagged = row["status"] not in (RESOLVED, "dismissed")
    match = policies.of(row) if flagged else None
    policy, severity = match if match is not None else (None, str(row["severity"]))
    return Observation(
        cluster_id=str(row["cluster_id"]),
        window_start=int(row["window_start"]),
        revision=int(row["revision"]),
        flagged=flagged,
        policy=policy.name if policy else "",
        policy_version=policy.version if policy else "",
        severity=severity,
        cluster_severity=str(row["severity"]),
        account_count=int(row["account_count"]),
        request_count=int(row["request_count"]),
        exposure_usd=float(row.get("exposure_usd") or 0.0),
        p_value=row.get("p_value"),
        q_value=row.get("q_value"),
        event_time=row.get("last_seen"),
        run_id=row.get("run_id"),
        bundle_version=row.get("bundle_version"),
        merged_into=row.get("merged_into") or "",
    )


class Desk:
    """See the module.

    Args:
      book: that everything is kept in.
      rules: of the house.
      clock_ms: milliseconds UTC.
    """

    def __init__(self, book: Book, rules: Rules, clock_ms: Callable[[], int]) -> None:
        self._book = book
        self._rules = rules
        self._clock_ms = clock_ms

    def look(
        self,
        clusters: Iterable[Row],
        accounts: Mapping[str, Sequence[str]],
        decisions: Sequence[Disposition],
    ) -> list[dict[str, Any]]:
        """Looks at what is new, and at everything when people decided something, or it ran out.

        Args:
          clusters: rows of `flagged_clusters`, in any order, repeats among them.
          accounts: of their newest rows, by cluster id.
          decisions: that hold now.

        Returns:
          Rows of the table `alerts`, one for each step that was made.
        """
        now_ms = self._clock_ms()
        news = self._news(clusters)
        known: dict[str, Known] = {}
        standings = Standings(
            decisions,
            self._rules.allowlist,
            self._rules.growth,
            now_ms,
            alive=lambda name: name in known and known[name].alert.state in LIVE,
        )
        said = _digest(decisions, self._rules.allowlist, now_ms)
        with self._book.writing():
            everything = self._book.fact("decisions") != said
            # What is told with one that is new may have to be told by itself from now on.
            along = standings.told_with_these(news)
            others = {standings.told_with(name) for name in news} - {""}
            known |= self._book.known(None if everything else {*news, *along, *others})
            storms = Storms(self._book, self._rules, now_ms)
            made: list[dict[str, Any]] = []
            looked_at = known if everything else {n: known[n] for n in along if n in known}
            names = _gravest_first(news, looked_at)
            names.sort(key=lambda name: bool(standings.told_with(name)))  # it hangs on the other
            for name in names:
                before = known.get(name)
                after, step = self._advance(before, news.get(name), accounts, standings, now_ms)
                if step is not None:
                    after, row = self._record(after, step, storms, now_ms)
                    made.append(row)
                if after != before:
                    self._book.keep(name, after)
                known[name] = after
            made += storms.tell()
            self._book.remember("decisions", said)
        return made

    def export(self, write: Callable[[list[dict[str, Any]]], None]) -> int:
        """Hands over the steps that are not in the tables yet; returns how many.

        Args:
          write: puts rows into the tables, and raises when it cannot; by key, so that a repeat
            changes nothing.
        """
        rows = self._book.unexported()
        if rows:
            write(rows)
            self._book.exported(rows)
        return len(rows)

    def _news(self, clusters: Iterable[Row]) -> dict[str, tuple[Observation, dict[str, Any]]]:
        found: dict[str, tuple[Observation, dict[str, Any]]] = {}
        for row in clusters:
            seen = observe(row, self._rules.policies)
            if seen.cluster_id not in found or seen.position >= found[seen.cluster_id][0].position:
                found[seen.cluster_id] = seen, about(row)
        return found

    def _advance(
        self,
        before: Known | None,
        news: tuple[Observation, dict[str, Any]] | None,
        accounts: Mapping[str, Sequence[str]],
        standings: Standings,
        now_ms: int,
    ) -> tuple[Known, Step | None]:
        alert = before.alert if before else None
        if news is not None and (alert is None or news[0].position >= alert.observation.position):
            seen, what = news
            held = list(accounts.get(seen.cluster_id) or (before.accounts if before else ()))
        else:
            assert before is not None  # nothing is looked at that is neither new nor known
            seen, what, held = before.alert.observation, before.about, before.accounts
        policy = self._rules.policies.named(seen.policy)
        growth = policy.tell_again if policy else _NO_GROWTH
        after, steps = advance(alert, seen, standings.of(seen, held), growth, now_ms)
        return Known(after, held, what), steps[0] if steps else None

    def _record(
        self, known: Known, step: Step, storms: Storms, now_ms: int
    ) -> tuple[Known, dict[str, Any]]:
        """Writes a step down, and who is told of it."""
        book, rules = self._book, self._rules
        alert = step.alert
        policy = rules.policies.named(alert.observation.policy)
        alert_id = alert.name(rules.namespace)
        storm = storms.of(step, policy)
        alert = replace(alert, storm_id=storm)
        step = step._replace(alert=alert)
        heard = book.outbox.heard(alert_id)
        channels = () if storm else _channels(step, policy, rules.channels, heard)
        if step.kind == "resolved" and not storm:
            never = book.outbox.drop_unsent(alert_id, now_ms)
            channels = tuple(name for name in channels if name not in never)
        row = _row(step, alert_id, channels, now_ms, rules.namespace)
        book.add_step(row)
        message = notice(
            step, alert_id, known.about, policy, now_ms, case_url=rules.case_url,
            runbook_url=rules.runbook_url, namespace=rules.namespace,
        )  # fmt: skip
        wakes = step.kind in ("opened", "raised", "updated")
        severity = alert.observation.severity
        not_before = rules.channels.not_before(severity, now_ms) if wakes else now_ms
        for name in channels:
            key = f"{alert_id}/{alert.revision}/{name}"
            if wakes:
                book.outbox.overtake(alert_id, name, now_ms, not_before)
            book.outbox.post(key, name, message, now_ms, not_before)
        return known._replace(alert=alert), row


def _gravest_first(
    news: Mapping[str, tuple[Observation, Any]], known: Mapping[str, Known]
) -> list[str]:
    """Names in the order in which they are told, since what is told first is told by itself."""
    seen = {name: one.alert.observation for name, one in known.items()}
    seen |= {name: one for name, (one, _) in news.items()}

    def grave(name: str) -> tuple[int, float, str]:
        one = seen[name]
        return -SEVERITIES.index(one.severity), -one.exposure_usd, name

    return sorted(seen, key=grave)


def _channels(
    step: Step, policy: Policy | None, channels: Channels, heard: Sequence[str]
) -> tuple[str, ...]:
    """Who heard of an alert hears of its end; who has to know now hears as well."""
    routed: tuple[str, ...] = ()
    if policy is not None and step.kind in ("opened", "raised", "updated"):
        routed = channels.of(policy.audience, step.alert.observation.severity)
    still = (name for name in heard if name in channels.channels)
    return tuple(dict.fromkeys((*routed, *still)))


def _row(
    step: Step, alert_id: str, channels: Sequence[str], now_ms: int, namespace: str
) -> dict[str, Any]:
    alert: Alert = step.alert
    seen = alert.observation
    return {
        "alert_id": alert_id,
        "revision": alert.revision,
        "cluster_id": seen.cluster_id,
        "step": step.kind,
        "state": alert.state,
        "severity": seen.severity,
        "changed_at": now_ms,
        "policy": seen.policy or None,
        "policy_version": seen.policy_version or None,
        "reason": step.reason,
        "cluster_revision": seen.revision,
        "window_start": seen.window_start,
        "event_time": seen.event_time,
        "opened_at": alert.opened_at,
        "account_count": seen.account_count,
        "request_count": seen.request_count,
        "exposure_usd": seen.exposure_usd,
        "p_value": seen.p_value,
        "q_value": seen.q_value,
        "storm_id": alert.storm_id or None,
        "disposition_id": step.disposition_id or None,
        "channels": list(channels),
        "namespace": namespace or None,
        "run_id": seen.run_id,
        "bundle_version": seen.bundle_version,
    }


def _digest(decisions: Sequence[Disposition], allowlist: Allowlist, now_ms: int) -> str:
    """Changes when what holds changes."""
    state = blake2b(digest_size=16)
    for part in _parts(decisions, allowlist, now_ms):
        state.update(part.encode() + b"\x1e")
    return state.hexdigest()


def _parts(decisions: Sequence[Disposition], allowlist: Allowlist, now_ms: int) -> Iterator[str]:
    for row in decisions:
        yield repr(row)
    for entry in allowlist.allow:
        yield f"{entry.model_dump_json()}{now_ms >= entry.expires.timestamp() * 1000}"
