"""What staff decided about clusters: rows that are only ever added, and the store that holds them.

A decision is a row of the table `dispositions`. Nothing is changed afterwards: a decision is taken
back by a row of its own, with the same `disposition_id` and a larger revision. What holds now
follows from the rows alone (`holding`), in whatever order they come.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import duckdb

from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from transforms.sinks.duckdb_refusal import why_not

VERDICTS = ("confirm", "dismiss", "permitted", "watch")
"""Decisions of which a cluster has one at a time; the newest holds."""
REGROUPINGS = ("split", "merge")
"""Decisions on what belongs together, of which any number hold."""
DECISIONS = (*VERDICTS, *REGROUPINGS)
WITHDRAW = "withdraw"
QUIETING = ("dismiss", "permitted")
"""Verdicts after which a cluster alerts nobody."""
HOLDS_DAYS = {"dismiss": 90, "watch": 14}
"""How long these hold where nothing else is said."""

_TABLE = TABLES["dispositions"]
_LOCKED_S = 30.0
_LONGEST_REASON = 4_000


@dataclass(frozen=True, slots=True)
class Disposition:
    """A decision about a cluster, or its withdrawal; a row of the table `dispositions`.

    Attributes:
      cluster_id: that it is about.
      decision: of `DECISIONS`, or `WITHDRAW`.
      decided_by: who.
      decided_at: when, milliseconds UTC.
      reason: why.
      valid_until: milliseconds UTC, from which it holds no more; None: it holds for ever.
      disposition_id: the same for a decision and its withdrawal.
      revision: 1 as it was made, 2 its withdrawal.
      accounts: that the cluster held then, sorted.
      split_accounts: of a split, those of them that do not belong with the rest.
      merged_clusters: of a merge, clusters that are the same campaign as this one.
      cluster_revision, severity, exposure_usd: of the cluster then.
      source: where it was decided.
    """

    cluster_id: str
    decision: str
    decided_by: str
    decided_at: int
    reason: str = ""
    valid_until: int | None = None
    disposition_id: str = ""
    revision: int = 1
    accounts: tuple[str, ...] = ()
    split_accounts: tuple[str, ...] = ()
    merged_clusters: tuple[str, ...] = ()
    cluster_revision: int | None = None
    severity: str | None = None
    exposure_usd: float | None = None
    source: str = ""

    def row(self) -> dict[str, Any]:
        """A row of the table."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def holds_at(self, at_ms: int) -> bool:
        """Whether it has not run out by a time."""
        return self.valid_until is None or at_ms < self.valid_until

    def withdrawn(self, by: str, why: str, at_ms: int, source: str = "") -> Disposition:
        """The row that takes it back."""
        return replace(
            self, decision=WITHDRAW, decided_by=by, decided_at=at_ms, reason=why, valid_until=None,
            disposition_id=_id(self), revision=self.revision + 1, source=source,
        )  # fmt: skip


def decide(
    cluster: Mapping[str, Any],
    accounts: Iterable[str],
    decision: str,
    *,
    by: str,
    why: str,
    at_ms: int,
    until_ms: int | None = None,
    split_accounts: Iterable[str] = (),
    merge_with: Iterable[str] = (),
    source: str = "",
) -> Disposition:
    """A new decision, after looking whether it makes sense.

    Args:
      cluster: its row of `flagged_clusters`; `cluster_id` is enough.
      accounts: that it holds now.
      decision: of `DECISIONS`.
      by, why: person, and reason.
      at_ms, until_ms: when, and until when; milliseconds UTC.
      split_accounts: of a split; some of `accounts`, and not all.
      merge_with: of a merge; ids of other clusters.
      source: where it was decided.

    Raises:
      DistilwatchError: naming what is wrong with it.
    """
    name, held = str(cluster["cluster_id"]), tuple(sorted(set(accounts)))
    apart, others = tuple(sorted(set(split_accounts))), tuple(sorted(set(merge_with)))
    place = f"decision on {name}"
    if decision not in DECISIONS:
        raise DistilwatchError(
            f"{decision!r} is no decision", place, f"choose one of {', '.join(DECISIONS)}"
        )
    if not by.strip():
        raise DistilwatchError("nobody is named who decided", place, "say who")
    if not why.strip():
        raise DistilwatchError("a decision needs a reason", place, "say why, in a few words")
    if len(why) > _LONGEST_REASON:
        raise DistilwatchError(
            f"the reason is longer than {_LONGEST_REASON:,} letters", place, "make it shorter"
        )
    if until_ms is not None and until_ms <= at_ms:
        raise DistilwatchError("it would have run out already", place, "give a later time")
    if decision == "permitted" and until_ms is None:
        raise DistilwatchError(
            "a permission needs an end", place, "say until when the contract or the test runs"
        )
    if decision in REGROUPINGS and until_ms is not None:
        raise DistilwatchError(f"a {decision} does not run out", place, "withdraw it in time")
    if (decision == "split") != bool(apart) or (apart and not set(apart) < set(held)):
        raise DistilwatchError(
            "a split names some accounts of the cluster, not all, and no others",
            place,
            "name those that do not belong with the rest",
        )
    if (decision == "merge") != bool(others) or name in others:
        raise DistilwatchError(
            "a merge names other clusters, and nothing else does",
            place,
            "name the clusters that are the same campaign",
        )
    revision, exposure = cluster.get("revision"), cluster.get("exposure_usd")
    return Disposition(
        name, decision, by.strip(), at_ms, why.strip(), until_ms, f"d-{uuid.uuid4().hex[:16]}", 1,
        held, apart, others, None if revision is None else int(revision), cluster.get("severity"),
        None if exposure is None else float(exposure), source,
    )  # fmt: skip


def holding(rows: Iterable[Disposition], at_ms: int) -> list[Disposition]:
    """Decisions that hold at a time, oldest first: not taken back, not run out, and of verdicts
    the newest of each cluster. One that has run out brings none before it back; one that was taken
    back does, because it should never have been. The order of rows does not matter.
    """
    newest: dict[str, Disposition] = {}
    for row in rows:
        name = _id(row)
        if row.decided_at <= at_ms and (name not in newest or row.revision > newest[name].revision):
            newest[name] = row
    kept = sorted(
        (row for row in newest.values() if row.decision != WITHDRAW),
        key=lambda row: (row.decided_at, _id(row)),
    )
    last = {row.cluster_id: row for row in kept if row.decision in VERDICTS}
    return [
        row
        for row in kept
        if row.holds_at(at_ms)
        and (row.decision in REGROUPINGS or _id(last[row.cluster_id]) == _id(row))
    ]


def _id(row: Disposition) -> str:
    # Rows of before there were ids are told apart by the table's key.
    return row.disposition_id or f"{row.cluster_id}/{row.decided_at}"


class DispositionStore:
    """The table `dispositions` of a DuckDB file, beside whoever else works with the file.

    The file is open only while it is read or written; while another process has it, this one waits,
    up to half a minute.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Args:
        path: of the database; made on the first decision where it is not there.
        clock: seconds since 1970, for `current`.
        """
        self._path = path
        self._clock = clock

    def append(self, *rows: Disposition) -> list[Disposition]:
        """Adds rows, all or none; one that is there already changes nothing.

        The table's key is cluster and time: of two decisions on a cluster in the same millisecond
        the second is said to be one later.

        Returns:
          The rows as they are in the table.

        Raises:
          DistilwatchError: somebody else has taken the decision back meanwhile, or the file cannot
            be written.
        """

        def add(connection: duckdb.DuckDBPyConnection) -> list[Disposition]:
            connection.execute("BEGIN")
            connection.execute(_TABLE.duckdb_ddl())
            for statement in _TABLE.duckdb_upgrades():
                connection.execute(statement)
            there = _read(connection, "")
            by_id = {(_id(row), row.revision): row for row in there}
            times = {(row.cluster_id, row.decided_at) for row in there}
            kept, new = [], []
            for row in rows:
                known = by_id.get((_id(row), row.revision))
                if known is not None and _same(known, row):
                    kept.append(known)
                    continue
                if known is not None:
                    raise DistilwatchError(
                        f"{known.decided_by} was faster: the decision is withdrawn already",
                        f"{row.cluster_id} in {self._path}",
                        "look at the history of decisions, then decide anew",
                    )
                while (row.cluster_id, row.decided_at) in times:
                    row = replace(row, decided_at=row.decided_at + 1)
                times.add((row.cluster_id, row.decided_at))
                by_id[_id(row), row.revision] = row
                new.append(row)
                kept.append(row)
            if new:
                connection.register("incoming", _TABLE.to_arrow([row.row() for row in new]))
                connection.execute("INSERT INTO dispositions BY NAME SELECT * FROM incoming")
                connection.unregister("incoming")
            connection.execute("COMMIT")
            return kept

        return self._with(add, read_only=False)

    def withdraw(self, disposition_id: str, by: str, why: str, source: str = "") -> Disposition:
        """Takes a decision back.

        Raises:
          DistilwatchError: there is none of this name, or it is taken back already.
        """
        of_name = [row for row in self.rows() if _id(row) == disposition_id]
        if not of_name:
            raise DistilwatchError(
                f"there is no decision {disposition_id}", str(self._path), "look at its history"
            )
        newest = max(of_name, key=lambda row: row.revision)
        if newest.decision == WITHDRAW:
            raise DistilwatchError(
                f"{disposition_id} was taken back already, by {newest.decided_by}",
                str(self._path),
                "nothing is left to do",
            )
        at_ms = max(int(self._clock() * 1000), newest.decided_at + 1)
        return self.append(newest.withdrawn(by, why, at_ms, source))[0]

    def current(self, at_ms: int | None = None) -> list[Disposition]:
        """Decisions that hold now, or at another time; see `holding`."""
        rows = self.rows()
        if at_ms is None:  # what was decided by a clock that is ahead of ours holds, too
            at_ms = max(int(self._clock() * 1000), max((r.decided_at for r in rows), default=0))
        return holding(rows, at_ms)

    def history(self, cluster_id: str) -> list[Disposition]:
        """All rows of a cluster, oldest first, what was taken back among them."""
        return [row for row in self.rows() if row.cluster_id == cluster_id]

    def rows(self) -> list[Disposition]:
        """All rows, oldest first; none where there is no file or no such table."""
        if not self._path.is_file():
            return []
        return self._with(lambda connection: _read(connection, "ORDER BY decided_at"), True)

    def _with(
        self, work: Callable[[duckdb.DuckDBPyConnection], list[Disposition]], read_only: bool
    ) -> list[Disposition]:
        deadline, pause = time.monotonic() + _LOCKED_S, 0.01
        while True:
            try:
                with duckdb.connect(str(self._path), read_only=read_only) as connection:
                    connection.execute("SET TimeZone = 'UTC'")
                    return work(connection)
            except duckdb.Error as error:
                refused = why_not(error)
                # The same file in this process, opened to read where we write, is a lock as well.
                busy = refused.locked or isinstance(error, duckdb.ConnectionException)
                if not busy or time.monotonic() > deadline:
                    raise DistilwatchError(
                        f"the decisions cannot be {'read' if read_only else 'kept'}: "
                        f"{refused.what}",
                        str(self._path),
                        refused.mend,
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, 0.05)  # others rest for little more than that


def disposition_of(row: Mapping[str, Any]) -> Disposition:
    """A row of the table as a record; columns that an older version lacks are empty."""
    names = {field.name for field in fields(Disposition)}
    known: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in row.items()
        if name in names and value is not None
    }
    return Disposition(**known)


def _same(one: Disposition, other: Disposition) -> bool:
    return replace(one, decided_at=0) == replace(other, decided_at=0)


def _read(connection: duckdb.DuckDBPyConnection, order: str) -> list[Disposition]:
    try:
        described = connection.execute("DESCRIBE dispositions").fetchall()
    except duckdb.CatalogException:
        return []
    there = {row[0] for row in described}
    columns = ", ".join(
        f'epoch_ms("{c.name}") AS "{c.name}"' if c.type == "TIMESTAMP" else f'"{c.name}"'
        for c in _TABLE.columns
        if c.name in there
    )
    result = connection.execute(f"SELECT {columns} FROM dispositions {order}")
    names = [column[0] for column in result.description]
    return [disposition_of(dict(zip(names, row, strict=True))) for row in result.fetchall()]


def accounts_of(rows: Sequence[Disposition], decision: str) -> frozenset[str]:
    """Accounts of clusters on which a verdict holds, without those that a split took out.

    Args:
      rows: that hold, as `holding` gives them.
      decision: of `VERDICTS`.
    """
    apart: dict[str, set[str]] = {}
    for row in rows:
        if row.decision == "split":
            apart.setdefault(row.cluster_id, set()).update(row.split_accounts)
    found: set[str] = set()
    for row in rows:
        if row.decision == decision:
            found.update(set(row.accounts) - apart.get(row.cluster_id, set()))
    return frozenset(found)
