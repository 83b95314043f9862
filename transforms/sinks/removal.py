"""What is to be removed: all that tells of an account, and what is older than it is kept.

Conditions are SQL that DuckDB and BigQuery read alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from transforms.sinks.stores import Store

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Removal:
    """Rows that are to go.

    Attributes:
      table: of the rows.
      where: condition.
      blank: column that is emptied instead; "" to delete.
    """

    table: str
    where: str
    blank: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """How long rows are kept, in milliseconds; 0 for ever.

    Attributes:
      scores: sessions and profiles, since their first request.
      clusters: clusters and their members, since the last request.
      dead_letters: since their event.
      revisions: those that a newer one replaced, since their first request.
      shared: indicators and sightings, since they held or were seen.
    """

    scores: int
    clusters: int
    dead_letters: int
    revisions: int
    shared: int


def all_of(account: str, payments: Sequence[str], store: Store) -> list[Removal]:
    """All that tells of an account.

    A cluster of several keeps its row, which holds sums over all members. One that consists of this
    account alone goes, with what was decided of it.

    Args:
      account: its id.
      payments: pseudonyms of payment fingerprints that were only this account's.
      store: that is asked which clusters are the account's alone.
    """
    quoted = store.quote(account)
    alone = store.values(
        "SELECT cluster_id FROM cluster_members GROUP BY cluster_id "
        f"HAVING COUNT(DISTINCT account_id) = 1 AND MIN(account_id) = {quoted}"
    )
    removals = [
        Removal("session_scores", f"key_kind = 'account' AND key = {quoted}"),
        Removal("sightings", f"account_id = {quoted}"),
    ]
    if payments:
        listed = ", ".join(map(store.quote, payments))
        removals.append(Removal("session_scores", f"key_kind = 'payment' AND key IN ({listed})"))
    if alone:
        listed = ", ".join(map(store.quote, alone))
        removals += [
            Removal(table, f"cluster_id IN ({listed})")
            for table in ("dispositions", "sightings", "indicators", "flagged_clusters")
        ]
    return [
        *removals,
        Removal("dispositions", f"STRPOS(reason, {quoted}) > 0", "reason"),
        # The last: what is removed before is found by way of the members.
        Removal("cluster_members", f"account_id = {quoted}"),
    ]


def outdated(kept: Kept, now_ms: int) -> list[Removal]:
    """What is older than it is kept."""

    def before(column: str, keep_ms: int) -> str:
        moment = datetime.fromtimestamp((now_ms - keep_ms) / 1000, UTC)
        return f"{column} < TIMESTAMP '{moment:%Y-%m-%d %H:%M:%S}+00'"

    removals: list[Removal] = []

    def remove(keep_ms: int, table: str, column: str, more: str = "") -> None:
        if keep_ms:
            removals.append(Removal(table, before(column, keep_ms) + more))

    remove(kept.scores, "session_scores", "session_start")
    remove(kept.clusters, "flagged_clusters", "last_seen")
    remove(kept.dead_letters, "dead_letters", "event_time")
    remove(kept.shared, "indicators", "COALESCE(valid_until, valid_from)")
    remove(kept.shared, "sightings", "last_seen")
    for table, column, thing in (
        ("session_scores", "session_start", "session_id"),
        ("flagged_clusters", "last_seen", "CONCAT(cluster_id, ' ', CAST(window_start AS STRING))"),
    ):
        newest = (
            f"SELECT CONCAT({thing}, ' ', CAST(MAX(revision) AS STRING)) FROM {table} "
            f"GROUP BY {thing}"
        )
        this = f"CONCAT({thing}, ' ', CAST(revision AS STRING))"
        remove(kept.revisions, table, column, f" AND {this} NOT IN ({newest})")
    if kept.clusters or kept.revisions:
        # Members come before their cluster: what is new may only seem to be without one.
        of = "CONCAT(cluster_id, ' ', CAST(revision AS STRING))"
        remove(
            min(keep for keep in (kept.clusters, kept.revisions) if keep),
            "cluster_members",
            "since",
            f" AND {of} NOT IN (SELECT {of} FROM flagged_clusters)",
        )
    return removals


def count(store: Store, removals: Sequence[Removal]) -> dict[str, int]:
    """Rows that would go, by table; a row that two conditions fit counts twice at most."""
    return _sums(removals, lambda removal: store.count(removal.table, removal.where))


def remove(store: Store, removals: Sequence[Removal]) -> dict[str, int]:
    """Removes them; returns rows by table."""

    def one(removal: Removal) -> int:
        if removal.blank:
            return store.blank(removal.table, removal.blank, removal.where)
        return store.delete(removal.table, removal.where)

    return _sums(removals, one)


def _sums(removals: Sequence[Removal], number_of: Callable[[Removal], int]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for removal in removals:
        sums[removal.table] = sums.get(removal.table, 0) + number_of(removal)
    return {table: number for table, number in sums.items() if number}


def total(sums: Mapping[str, int]) -> int:
    """All rows of `count` or `remove`."""
    return sum(sums.values())
