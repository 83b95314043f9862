"""What the attacker is shown: the findings that hold its accounts, as staff see them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pipelines.tables import connect, current_clusters, rows


@dataclass(frozen=True, slots=True)
class SeenReason:
    """One reason of a finding.

    Attributes:
      feature: its name.
      high: whether the value lies above what is normal.
      contribution: fall of the score if this alone were normal.
    """

    feature: str
    high: bool
    contribution: float


@dataclass(frozen=True, slots=True)
class SeenFinding:
    """One flagged cluster that holds accounts of the attacker.

    Attributes:
      accounts: the attacker's accounts in it.
      others: accounts in it that are not the attacker's.
      reasons: largest contribution first.
      links: number of the attacker's accounts in it that share a thing, by kind.
      tactics: as named.
    """

    accounts: frozenset[str]
    others: int
    reasons: tuple[SeenReason, ...]
    links: tuple[tuple[str, int], ...]
    tactics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """All findings of a round.

    Attributes:
      findings: that hold accounts of the attacker.
      benign: accounts in flagged clusters that are not the attacker's; for the report only, the
        attacker is not shown it.
    """

    findings: tuple[SeenFinding, ...]
    benign: int

    @property
    def flagged(self) -> frozenset[str]:
        """The attacker's accounts that are flagged."""
        return frozenset().union(*(finding.accounts for finding in self.findings))


def read_seen(database: Path, own: Collection[str]) -> Seen:
    """Reads what `detect` wrote.

    Args:
      database: DuckDB file.
      own: the attacker's accounts.

    Raises:
      DistilwatchError: when the tables cannot be read.
    """
    mine = set(own)
    strangers: set[str] = set()
    findings = []
    with connect(database) as connection:
        for cluster in current_clusters(connection):
            members = rows(
                connection,
                "SELECT account_id, links FROM cluster_members WHERE cluster_id = ? "
                "AND revision = ? AND (window_start IS NULL OR epoch_ms(window_start) = ?) "
                "ORDER BY account_id",
                (cluster["cluster_id"], cluster["revision"], cluster["window_start"]),
            )
            caught = [m for m in members if m["account_id"] in mine]
            strangers.update(m["account_id"] for m in members if m["account_id"] not in mine)
            if caught:
                findings.append(_finding(cluster, caught, len(members) - len(caught)))
    # Ids are drawn at random, so their order says nothing; the same findings come in the same one.
    findings.sort(key=lambda finding: (-len(finding.accounts), min(finding.accounts)))
    return Seen(tuple(findings), len(strangers))


def _finding(
    cluster: dict[str, object], caught: list[dict[str, object]], others: int
) -> SeenFinding:
    links: dict[str, int] = {}
    for member in caught:
        for kind in {str(link["kind"]) for link in _records(member["links"])}:
            links[kind] = links.get(kind, 0) + 1
    reasons = [
        SeenReason(
            str(reason["feature"]),
            float(str(reason["value"])) > float(str(reason["normal_high"])),
            float(str(reason["contribution"])),
        )
        for reason in _records(cluster["reasons"])
    ]
    tactics = cluster["tactics"]
    return SeenFinding(
        frozenset(str(member["account_id"]) for member in caught),
        others,
        tuple(reasons),
        tuple(sorted(links.items(), key=lambda item: (-item[1], item[0]))),
        tuple(str(name) for name in tactics) if isinstance(tactics, list) else (),
    )


def _records(value: object) -> list[dict[str, object]]:
    return value if isinstance(value, list) else []
