"""Where decisions are kept: the table `dispositions` of a DuckDB file, or of BigQuery
(`decision_store_bigquery`)."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb

from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from transforms.alerts.dispositions import WITHDRAW, Disposition, disposition_of, holding
from transforms.sinks.duckdb_gate import connect_to_read, connected_to_write
from transforms.sinks.duckdb_refusal import RETRY_S, why_not

_TABLE = TABLES["dispositions"]
_LOCKED_S = 30.0


class Decisions(ABC):
    """Rows of the table `dispositions`, to which rows are only added.

    Attributes:
      place: of the table, for people.
      clock: seconds since 1970, for `current` and `withdraw`.
    """

    place: str
    clock: Callable[[], float]

    @abstractmethod
    def rows(self) -> list[Disposition]:
        """All rows, oldest first; none where there is no such table."""

    @abstractmethod
    def append(self, *rows: Disposition) -> list[Disposition]:
        """Adds rows, all or none; one that is there already changes nothing.

        The table's key is cluster and time: of two decisions on a cluster in the same millisecond
        the second is said to be one later.

        Returns:
          The rows as they are in the table.

        Raises:
          DistilwatchError: somebody else has taken the decision back meanwhile, or the table cannot
            be written.
        """

    def withdraw(self, disposition_id: str, by: str, why: str, source: str = "") -> Disposition:
        """Takes a decision back.

        Raises:
          DistilwatchError: there is none of this name, or it is taken back already.
        """
        of_name = [row for row in self.rows() if row.name == disposition_id]
        if not of_name:
            raise DistilwatchError(
                f"there is no decision {disposition_id}", self.place, "look at its history"
            )
        newest = max(of_name, key=lambda row: row.revision)
        if newest.decision == WITHDRAW:
            raise DistilwatchError(
                f"{disposition_id} was taken back already, by {newest.decided_by}",
                self.place,
                "nothing is left to do",
            )
        at_ms = max(int(self.clock() * 1000), newest.decided_at + 1)
        return self.append(newest.withdrawn(by, why, at_ms, source))[0]

    def current(self, at_ms: int | None = None) -> list[Disposition]:
        """Decisions that hold now, or at another time; see `holding`."""
        rows = self.rows()
        if at_ms is None:  # what was decided by a clock that is ahead of ours holds, too
            at_ms = max(int(self.clock() * 1000), max((r.decided_at for r in rows), default=0))
        return holding(rows, at_ms)

    def history(self, cluster_id: str) -> list[Disposition]:
        """All rows of a cluster, oldest first, what was taken back among them."""
        return [row for row in self.rows() if row.cluster_id == cluster_id]


def placed(
    rows: Sequence[Disposition], there: Sequence[Disposition], place: str
) -> tuple[list[Disposition], list[Disposition]]:
    """What becomes of rows beside those that are there; see `Decisions.append`.

    Returns:
      The rows as they will be in the table; those of them that are to be added.

    Raises:
      DistilwatchError: one is there already and says something else.
    """
    by_id = {(row.name, row.revision): row for row in there}
    times = {(row.cluster_id, row.decided_at) for row in there}
    kept, new = [], []
    for row in rows:
        known = by_id.get((row.name, row.revision))
        if known is None:
            while (row.cluster_id, row.decided_at) in times:
                row = replace(row, decided_at=row.decided_at + 1)
            times.add((row.cluster_id, row.decided_at))
            by_id[row.name, row.revision] = known = row
            new.append(row)
        elif not _same(known, row):
            raise DistilwatchError(
                f"{known.decided_by} was faster: the decision is withdrawn already",
                f"{row.cluster_id} in {place}",
                "look at the history of decisions, then decide anew",
            )
        kept.append(known)
    return kept, new


class DispositionStore(Decisions):
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
        self.place = str(path)
        self.clock = clock

    def append(self, *rows: Disposition) -> list[Disposition]:
        def add(connection: duckdb.DuckDBPyConnection) -> list[Disposition]:
            connection.execute("BEGIN")
            connection.execute(_TABLE.duckdb_ddl())
            for statement in _TABLE.duckdb_upgrades():
                connection.execute(statement)
            there = _read(connection, "")
            kept, new = placed(rows, there, self.place)
            if new:
                connection.register("incoming", _TABLE.to_arrow([row.row() for row in new]))
                connection.execute("INSERT INTO dispositions BY NAME SELECT * FROM incoming")
                connection.unregister("incoming")
            connection.execute("COMMIT")
            return kept

        return self._with(add, read_only=False)

    def rows(self) -> list[Disposition]:
        if not self._path.is_file():
            return []
        return self._with(lambda connection: _read(connection, "ORDER BY decided_at"), True)

    def _with(
        self, work: Callable[[duckdb.DuckDBPyConnection], list[Disposition]], read_only: bool
    ) -> list[Disposition]:
        deadline = time.monotonic() + _LOCKED_S
        connect = connect_to_read if read_only else connected_to_write
        while True:
            try:
                with connect(self._path) as connection:
                    connection.execute("SET TimeZone = 'UTC'")
                    return work(connection)
            except duckdb.Error as error:
                refused = why_not(error)
                if not refused.locked or time.monotonic() > deadline:
                    raise DistilwatchError(
                        f"the decisions cannot be {'read' if read_only else 'kept'}: "
                        f"{refused.what}",
                        self.place,
                        refused.mend,
                    ) from error
            time.sleep(RETRY_S)


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
