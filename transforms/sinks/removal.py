"""What is to be removed: all that tells of an account, and what is older than it is kept.

Conditions are SQL that DuckDB and BigQuery read alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.tables import FREE_TEXT, IDENTIFIERS, TABLES
from transforms.sinks.stores import Store

DAY_MS = 86_400_000
_MEMBERS = "cluster_members"


@dataclass(frozen=True, slots=True)
class Removal:
    """Rows that are to go, or what they say.

    Attributes:
      table: of the rows.
      where: condition.
      column: that gets another value instead; "" to delete the rows.
      value: that it gets, as SQL.
    """

    table: str
    where: str
    column: str = ""
    value: str = "NULL"


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
    """All that tells of an account, but for the sealed records of dead letters.

    Which columns name an account is in `schemas.tables`: `IDENTIFIERS` and `FREE_TEXT`. A row that
    is the account's goes; from a list only its id goes, and a text that names it is emptied. A
    cluster of several keeps its row, which holds sums over all members. One that consists of this
    account alone goes, with all that was said and decided of it: its id is a hash of the account's.

    Args:
      account: its id.
      payments: pseudonyms of payment fingerprints that were only this account's.
      store: that is asked which clusters are the account's alone.
    """
    quoted = store.quote(account)
    removals = []
    if payments:
        listed = ", ".join(map(store.quote, payments))
        removals.append(Removal("session_scores", f"key_kind = 'payment' AND key IN ({listed})"))
    if alone := clusters_of(account, store):
        listed = ", ".join(map(store.quote, alone))
        removals += [
            Removal(name, f"cluster_id IN ({listed})")
            for name in TABLES
            if name != _MEMBERS and _has(name, "cluster_id")
        ]
        removals.append(Removal("flagged_clusters", f"merged_into IN ({listed})", "merged_into"))
        removals += [
            _out_of_list("dispositions", "merged_clusters", store.quote(name)) for name in alone
        ]
    for table, columns in IDENTIFIERS.items():
        for column in columns:
            if TABLES[table].column(column).mode == "REPEATED":
                removals.append(_out_of_list(table, column, quoted))
            elif table != _MEMBERS:
                kind = "key_kind = 'account' AND " if table == "session_scores" else ""
                removals.append(Removal(table, f"{kind}{column} = {quoted}"))
    removals += [
        Removal(table, store.mentions(column, account), column)
        for table, columns in FREE_TEXT.items()
        for column in columns
    ]
    # The last: what is removed before is found by way of the members, also by a second command.
    return [*removals, Removal(_MEMBERS, f"account_id = {quoted}")]


def clusters_of(account: str, store: Store) -> list[str]:
    """Clusters that consist of an account alone."""
    return store.values(
        "SELECT cluster_id FROM cluster_members GROUP BY cluster_id "
        f"HAVING COUNT(DISTINCT account_id) = 1 AND MIN(account_id) = {store.quote(account)}"
    )


def _has(table: str, column: str) -> bool:
    return any(c.name == column for c in TABLES[table].columns)


def _out_of_list(table: str, column: str, quoted: str) -> Removal:
    left = f"ARRAY(SELECT one FROM UNNEST({column}) AS one WHERE one <> {quoted})"
    has = f"EXISTS (SELECT one FROM UNNEST({column}) AS one WHERE one = {quoted})"
    return Removal(table, has, column, left)


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
    later = f"SELECT alert_id FROM alerts WHERE NOT {before('changed_at', kept.clusters)}"
    remove(kept.clusters, "alerts", "changed_at", f" AND alert_id NOT IN ({later})")
    remove(kept.dead_letters, "dead_letters", "event_time")
    remove(kept.dead_letters, "dead_letter_replays", "replayed_at")
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
        of = "cluster_id || ' ' || CAST(revision AS STRING)"
        # Another window of the cluster may have that revision, too; old rows of members say none.
        within = f"{of} || COALESCE(' ' || CAST(window_start AS STRING), '')"
        gone = (
            f" AND {within} NOT IN (SELECT {within} FROM flagged_clusters "
            f"UNION ALL SELECT {of} FROM flagged_clusters)"
        )
        keep = min(keep for keep in (kept.clusters, kept.revisions) if keep)
        for table, column in (("cluster_members", "since"), ("cluster_evidence", "window_start")):
            remove(keep, table, column, gone)
    return removals


def count(store: Store, removals: Sequence[Removal]) -> dict[str, int]:
    """Rows that would go or change, by table."""
    sums = {
        table: store.count(table, _any(removal for removal in removals if removal.table == table))
        for table in dict.fromkeys(removal.table for removal in removals)
    }
    return {table: number for table, number in sums.items() if number}


def remove(store: Store, removals: Sequence[Removal]) -> dict[str, int]:
    """Removes and changes them, tables in the order in which they come; returns rows by table."""
    sums: dict[str, int] = {}
    for table in dict.fromkeys(removal.table for removal in removals):
        own = [removal for removal in removals if removal.table == table]
        gone = [removal for removal in own if not removal.column]
        number = store.delete(table, _any(gone)) if gone else 0
        if changed := [removal for removal in own if removal.column]:
            number += store.count(table, _any(changed))
            for removal in changed:
                store.replace(table, removal.column, removal.value, removal.where)
        if number:
            sums[table] = number
    return sums


def _any(removals: Iterable[Removal]) -> str:
    return " OR ".join(f"({removal.where})" for removal in removals)
