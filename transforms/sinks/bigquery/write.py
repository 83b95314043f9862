"""Rows into the tables of a dataset: staged, merged by key, and counted on arrival.

Rows go into a passing table first, over the Storage Write API or by load jobs, and from there by
one MERGE into the table: a row whose key is there replaces the one that is, and others are added.
So a second run, a retry, or a batch that a crash left half written changes nothing.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import DistilwatchError
from schemas.model import Table
from schemas.tables import TABLES
from transforms.bigquery.client import BigQueryOptions, Connection, api
from transforms.bigquery.refusal import refused
from transforms.bigquery.uri import parse_bigquery_uri
from transforms.sinks.bigquery.stage import Staged, load_rows, passing_table
from transforms.sinks.bigquery.tables import ensure_table
from transforms.sinks.delivery import Delivery
from transforms.spans import span

REFUSED = "refused_by_bigquery"
STAGE = "bigquery"
_HEALTH, _LETTERS = "run_health", "dead_letters"
# Versions of a row lie within one profile window of each other, so MERGE need not look further.
_WINDOWED = ("session_scores", "flagged_clusters", "cluster_members")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")


class BigQuerySink:
    """Writes tables of one run to a dataset.

    Attributes:
      delivered: what became of the rows so far, by table.
    """

    def __init__(self, uri: str, run_id: str, options: BigQueryOptions | None = None) -> None:
        """Connects.

        Raises:
          DistilwatchError: the URI is wrong, or there are no credentials.
        """
        self.connection = Connection(parse_bigquery_uri(uri), options or BigQueryOptions())
        self.delivered: dict[str, Delivery] = {}
        self._run_id = run_id
        self._ready: set[str] = set()
        self._alone = False

    def write(self, tables: Mapping[str, pa.Table], whole_run: bool = False) -> None:
        """Puts rows into the tables.

        Args:
          tables: rows by table, of its Arrow schema; no two with the same key.
          whole_run: whether `run_health` holds all counts of the run, so that others go.

        Raises:
          DistilwatchError: BigQuery does not answer, or refuses; what was written by then is
            written again without harm.
        """
        try:
            self.connection.locate()
            for name in TABLES:
                self._define(name)
            letters: list[dict[str, Any]] = []
            for name, rows in tables.items():
                if name not in (_HEALTH, _LETTERS):
                    letters += self._deliver(name, rows)
            refused_rows = TABLES[_LETTERS].to_arrow(letters)
            known = tables.get(_LETTERS, refused_rows.slice(0, 0))
            self._deliver(_LETTERS, pa.concat_tables([known, refused_rows]))
            # Last, because they tell of the others; and their own arrival is checked here alone.
            counts = tables.get(_HEALTH, TABLES[_HEALTH].to_arrow([]))
            if whole_run and counts.num_rows:
                self._leave_only(counts)
            self._deliver(_HEALTH, pa.concat_tables([counts, self._report()]), report=False)
        except DistilwatchError:
            raise
        except Exception as error:
            raise refused(error, self.connection.uri, "rows cannot be written") from error

    def write_table(self, name: str, rows: pa.Table) -> tuple[Delivery, list[dict[str, Any]]]:
        """Puts rows into one table, and dead letters of those that are refused into theirs.

        Args:
          name: of the table.
          rows: of its Arrow schema; no two with the same key.

        Returns:
          What became of these rows; rows of `dead_letters`.

        Raises:
          DistilwatchError: BigQuery does not answer, or refuses.
        """
        try:
            self.connection.locate()
            for needed in {name, _LETTERS}:
                self._define(needed)
            before = self.delivered.pop(name, Delivery())
            letters = self._deliver(name, rows)
            delivery = self.delivered.get(name, Delivery())
            self.delivered[name] = before + delivery
            self._deliver(_LETTERS, TABLES[_LETTERS].to_arrow(letters))
            return delivery, letters
        except DistilwatchError:
            raise
        except Exception as error:
            raise refused(error, self.connection.uri, "rows cannot be written") from error

    @property
    def total(self) -> Delivery:
        """What became of the rows of all tables."""
        total = Delivery()
        for delivery in self.delivered.values():
            total = total + delivery
        return total

    def _define(self, name: str) -> None:
        if name not in self._ready:
            ensure_table(self.connection, TABLES[name])
            self._ready.add(name)

    def _deliver(self, name: str, rows: pa.Table, report: bool = True) -> list[dict[str, Any]]:
        """Writes rows of a table; returns dead letters of those that were refused."""
        if not rows.num_rows:
            return []
        table, connection = TABLES[name], self.connection
        with (
            span("write a table", table=name, rows=rows.num_rows),
            passing_table(connection, table) as passing,
        ):
            if connection.method == "load":
                staged = load_rows(connection, passing, table, rows)
            else:
                from transforms.sinks.bigquery.storage_write import stream_rows

                staged = stream_rows(connection, passing, rows)
            arrived = 0
            if staged.rows:
                merge = merge_statement(
                    table, connection.uri.dataset_id, passing, self._days(table, rows)
                )
                job = connection.query(merge, f"distilwatch-merge-{passing}")
                arrived = int(job.num_dml_affected_rows or 0)
        delivery = Delivery(rows.num_rows, arrived, len(staged.refused))
        if delivery.sent != delivery.arrived + delivery.refused:
            raise DistilwatchError(
                f"{delivery.sent:,} rows were sent to {name}, {delivery.arrived:,} arrived and "
                f"{delivery.refused:,} were refused",
                connection.uri.place,
                "look for rows with the same key in the table, which somebody else must have put "
                "there: this program replaces rows by key",
            )
        if report:
            self.delivered[name] = self.delivered.get(name, Delivery()) + delivery
        return self._letters(table, rows, staged)

    def _days(self, table: Table, rows: pa.Table) -> tuple[Any, Any] | None:
        """First and last time that the table need be looked at; None: all of it."""
        bounded = table.name in _WINDOWED or table.partition in table.key
        if not bounded or rows[table.partition].null_count:
            return None
        times = pc.min_max(rows[table.partition]).as_py()
        if table.partition in table.key:  # its versions are of one day
            return times["min"], times["max"]
        window = timedelta(milliseconds=self.connection.options.window_ms)
        return times["min"] - window, times["max"] + window

    def _letters(self, table: Table, rows: pa.Table, staged: Staged) -> list[dict[str, Any]]:
        source = f"{self.connection.uri.place}/{table.name}"
        letters = []
        for index, why in staged.refused:
            row = rows.slice(index, 1).to_pylist()[0]
            text = repr([(k, row[k]) for k in table.key]).encode()
            name = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1
            whole = repr(row).encode()
            letters.append(
                {
                    "source": source,
                    "partition": 0,
                    "offset": name,
                    "reason": REFUSED,
                    "detail": _without_values(why, table),
                    "raw_sha256": hashlib.sha256(whole).hexdigest(),
                    "raw_bytes": len(whole),
                    "event_time": row[table.partition] if table.partition else None,
                    "run_id": self._run_id,
                }
            )
        return letters

    def _report(self) -> pa.Table:
        rows = [
            {"run_id": self._run_id, "stage": STAGE, "source": name, "metric": m, "value": n}
            for name, d in sorted(self.delivered.items())
            for m, n in (("sent", d.sent), ("arrived", d.arrived), ("not_taken", d.refused))
        ]
        return TABLES[_HEALTH].to_arrow(rows)

    def _leave_only(self, counts: pa.Table) -> None:
        """Removes counts of an earlier process of this run that this one does not count."""
        if self._alone:
            return
        table = f"{self.connection.uri.dataset_id}.{_HEALTH}"
        metrics = sorted(set(counts["metric"].to_pylist()))
        listed = ", ".join(f"@m{i}" for i in range(len(metrics)))
        parameters = [api.ScalarQueryParameter(f"m{i}", "STRING", m) for i, m in enumerate(metrics)]
        self.connection.query(
            f"DELETE FROM `{table}` "
            f"WHERE run_id = @run AND stage = '' AND metric NOT IN ({listed})",
            f"distilwatch-counts-{uuid.uuid4().hex}",
            [api.ScalarQueryParameter("run", "STRING", self._run_id), *parameters],
        )
        self._alone = True


def _without_values(why: str, table: Table) -> str:
    """An error message without what it quotes, unless that is the name of a column."""
    names = {c.name for c in table.columns} | {f.name for c in table.columns for f in c.fields}

    def kept(match: re.Match[str]) -> str:
        return match.group() if match.group()[1:-1] in names else "…"

    return _QUOTED.sub(kept, why)[:500]


def merge_statement(
    table: Table, dataset: str, passing: str, days: tuple[Any, Any] | None = None
) -> str:
    """The MERGE that puts the rows of a passing table into its table, by key.

    Args:
      table: of the contract.
      dataset: `project.dataset`.
      passing: name of the passing table.
      days: first and last time of the table's partitions that can hold the same keys. They are
        constants, because BigQuery prunes partitions by nothing else.
    """
    columns: Sequence[str] = [f"`{c.name}`" for c in table.columns]
    on = [f"T.`{k}` = S.`{k}`" for k in table.key]
    if days is not None:
        first, last = (d.strftime("%Y-%m-%d %H:%M:%S.%f+00") for d in days)
        on.append(f"T.`{table.partition}` BETWEEN TIMESTAMP '{first}' AND TIMESTAMP '{last}'")
    settings = ", ".join(f"{c} = S.{c}" for c in columns)
    return (
        f"MERGE `{dataset}.{table.name}` AS T USING `{dataset}.{passing}` AS S\n"
        f"ON {' AND '.join(on)}\n"
        f"WHEN MATCHED THEN UPDATE SET {settings}\n"
        f"WHEN NOT MATCHED THEN INSERT ({', '.join(columns)}) "
        f"VALUES ({', '.join(f'S.{c}' for c in columns)})"
    )
