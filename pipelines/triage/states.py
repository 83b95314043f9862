"""Where each cluster stands: by the same rules by which alerts are told, or stay quiet.

A decision holds for the cluster that it was made on, for one of another name that has the same
accounts, and until the cluster outgrows it (`transforms.alerts.standing`). So whoever is woken by a
cluster finds it open here, too, and what stays quiet is not looked at twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import duckdb
import pyarrow as pa

from transforms.alerts.allowlist import Allowlist
from transforms.alerts.dispositions import VERDICTS, Disposition, holding
from transforms.alerts.life import Observation
from transforms.alerts.standing import GrowthRule, Standings

STATES = ("open", "watched", "confirmed", "dismissed", "permitted", "merged", "resolved")
GROUP = dict(zip(STATES, (0, 1, 2, 3, 3, 3, 3), strict=True))
"""What needs somebody comes first."""
_STATE_OF = {
    "confirm": "confirmed",
    "dismiss": "dismissed",
    "permitted": "permitted",
    "watch": "watched",
    "merge": "merged",
    "": "permitted",  # by the allowlist
}


@dataclass(frozen=True, slots=True)
class Quiet:
    """What a house lets pass.

    Attributes:
      growth: when a decision is outgrown.
      allowlist: of accounts and clusters.
    """

    growth: GrowthRule = field(default_factory=GrowthRule)
    allowlist: Allowlist = field(default_factory=Allowlist)


class Stands(NamedTuple):
    """Of a cluster on which anything was said: its state and why; "open" where it has outgrown
    what was said."""

    cluster_id: str
    state: str
    why: str


def standings(
    tables: duckdb.DuckDBPyConnection, decisions: Sequence[Disposition], quiet: Quiet, at_ms: int
) -> list[Stands]:
    """All clusters on which anything was said, by id.

    Args:
      tables: with `queue` and `members`.
      decisions: all rows; those that hold are found here.
      quiet: rules of the house.
      at_ms: milliseconds UTC.
    """
    held = holding(decisions, at_ms)
    alive: set[str] = set()  # what a cluster is told with comes before it
    rules = Standings(held, quiet.allowlist, quiet.growth, at_ms, alive.__contains__)
    found = []
    meant = list(_meant(tables, held, quiet.allowlist))
    for news, accounts in sorted(meant, key=lambda one: bool(rules.told_with(one[0].cluster_id))):
        said = rules.of(news, accounts)
        if news.flagged and not said.quiet:
            alive.add(news.cluster_id)
        if said.quiet or said.seen:
            found.append(Stands(news.cluster_id, _STATE_OF[said.decision], said.why))
        elif said.why:
            found.append(Stands(news.cluster_id, "open", said.why))
    return sorted(found)


def _meant(
    tables: duckdb.DuckDBPyConnection, held: Sequence[Disposition], allowlist: Allowlist
) -> Iterator[tuple[Observation, list[str]]]:
    """Clusters that something may have been said of, and their accounts."""
    names = {row.cluster_id for row in held if row.decision in VERDICTS}
    names |= {name for row in held if row.decision == "merge" for name in row.merged_clusters}
    names |= {row.cluster_id for row in held if row.decision == "merge"}
    names |= {name for entry in allowlist.allow for name in entry.clusters}
    accounts = {a for row in held if row.decision in VERDICTS for a in row.accounts}
    patterns = {pattern for entry in allowlist.allow for pattern in entry.accounts}
    if not names and not accounts and not patterns:
        return
    cursor = tables.cursor()
    for name, values in (("said", names), ("whose", accounts), ("like", patterns)):
        cursor.register(f"{name}_of", pa.table({"name": pa.array(sorted(values), pa.string())}))
    result = cursor.execute(
        """WITH meant AS (
             SELECT name AS cluster_id FROM said_of
             UNION SELECT cluster_id FROM members SEMI JOIN whose_of ON account_id = name
             UNION SELECT cluster_id FROM members JOIN like_of ON account_id GLOB name)
           SELECT q.cluster_id, q.status NOT IN ('resolved', 'dismissed'), q.severity,
             coalesce(q.exposure_usd, 0.0),
             coalesce(list(m.account_id) FILTER (m.account_id IS NOT NULL), [])
           FROM queue AS q SEMI JOIN meant USING (cluster_id)
             LEFT JOIN members AS m USING (cluster_id)
           GROUP BY ALL ORDER BY q.cluster_id"""
    )
    for cluster_id, flagged, severity, exposure_usd, own in result.fetchall():
        seen = Observation(
            cluster_id, 0, 0, flagged, cluster_severity=severity, exposure_usd=exposure_usd
        )
        yield seen, own
