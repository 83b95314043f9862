"""The table `dispositions` of a BigQuery dataset, for commands, pages, alerts and training."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from schemas.tables import TABLES
from transforms.alerts.decision_store import Decisions, placed
from transforms.alerts.dispositions import Disposition, disposition_of
from transforms.bigquery.client import Connection, api, errors, in_ms
from transforms.bigquery.refusal import refused

_TABLE = TABLES["dispositions"]


class BigQueryDispositions(Decisions):
    """A dataset that `detect` writes to.

    Two people who take the same decision back in the same second both succeed: BigQuery has no
    unique keys. The history then has two rows that say the same, which changes nothing.
    """

    def __init__(self, connection: Connection, clock: Callable[[], float] = time.time) -> None:
        """Args:
        connection: to the dataset.
        clock: seconds since 1970, for `current` and `withdraw`.
        """
        self.place = connection.uri.place
        self.clock = clock
        self._connection = connection
        self._name = f"{connection.uri.dataset_id}.{_TABLE.name}"
        self._columns: set[str] = set()
        self._seen: tuple[Any, list[Disposition]] | None = None

    def rows(self) -> list[Disposition]:
        connection = self._connection
        try:
            connection.locate()
            there = connection.call(connection.client.get_table, self._name)
            self._columns = {field.name for field in there.schema}
            # A run without an end looks every minute: a look at the table's state costs nothing. An
            # emulator does not tell of changes.
            state = None if connection.uri.emulated else (there.modified, there.num_rows)
            if self._seen is None or state is None or self._seen[0] != state:
                self._seen = state, self._read()
            return list(self._seen[1])
        except errors.NotFound as missing:
            if _TABLE.name in str(missing):
                return []
            raise refused(missing, connection.uri, "the decisions cannot be read") from missing
        except Exception as error:
            raise refused(error, connection.uri, "the decisions cannot be read") from error

    def append(self, *rows: Disposition) -> list[Disposition]:
        from transforms.sinks.bigquery.tables import ensure_table

        connection = self._connection
        try:
            there = self.rows()
            if not self._columns.issuperset(column.name for column in _TABLE.columns):
                ensure_table(connection, _TABLE)
            kept, new = placed(rows, there, self.place)
            if new:
                self._insert(new)
            return kept
        except Exception as error:
            raise refused(error, connection.uri, "the decisions cannot be kept") from error

    def _read(self) -> list[Disposition]:
        columns = ", ".join(f"`{c.name}`" for c in _TABLE.columns if c.name in self._columns)
        found = self._connection.answer(
            f"SELECT {columns} FROM `{self._name}` ORDER BY decided_at",
            f"distilwatch-decisions-{uuid.uuid4().hex}",
        )
        return [disposition_of(row) for row in in_ms(found)]

    def _insert(self, rows: Sequence[Disposition]) -> None:
        """In one statement, so all or none."""
        parameters: list[Any] = []
        lines = []
        for number, row in enumerate(rows):
            values = row.row()
            for column in _TABLE.columns:
                name, value = f"{column.name}_{number}", values.get(column.name)
                if column.mode == "REPEATED":
                    made = api.ArrayQueryParameter(name, column.type, list(value or ()))
                    parameters.append(made)
                    continue
                if column.type == "TIMESTAMP" and value is not None:
                    value = datetime.fromtimestamp(value / 1000, UTC)
                parameters.append(api.ScalarQueryParameter(name, column.type, value))
            lines.append(f"({', '.join(f'@{c.name}_{number}' for c in _TABLE.columns)})")
        columns = ", ".join(f"`{c.name}`" for c in _TABLE.columns)
        self._connection.query(
            f"INSERT INTO `{self._name}` ({columns}) VALUES {', '.join(lines)}",
            f"distilwatch-decide-{uuid.uuid4().hex}",
            parameters,
        )
