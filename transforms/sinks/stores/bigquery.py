"""Rows in a BigQuery dataset, by statements through the official client."""

from __future__ import annotations

import re
from typing import Any, Self

from schemas.errors import DistilwatchError
from schemas.mention import mention
from schemas.model import bigquery_text
from schemas.tables import TABLES

_PASSING = re.compile(rf"staging_({'|'.join(TABLES)})_[0-9a-f]{{16}}")


class BigQueryStore:
    """A dataset; see `transforms.sinks.stores`.

    Rows that came in by streaming inserts cannot be deleted for up to 90 minutes; the statement
    then fails, is told of, and can be repeated. Deleted rows are in time travel for up to seven
    days (`max_time_travel_hours` of the dataset) and in fail-safe storage for seven more.
    """

    def __init__(self, client: Any, dataset: str, place: str) -> None:
        """Args:
        client: `google.cloud.bigquery.Client`.
        dataset: `project.dataset`.
        place: for messages.
        """
        self._client = client
        self._dataset = dataset
        self._place = place

    @property
    def name(self) -> str:
        return self._place

    def __enter__(self) -> Self:
        from google.api_core.exceptions import GoogleAPICallError

        try:
            there = {table.table_id for table in self._client.list_tables(self._dataset)}
        except GoogleAPICallError as error:
            raise self._refused(error) from error
        if missing := [name for name in TABLES if name not in there]:
            raise DistilwatchError(
                f"the dataset has no table {', '.join(missing)}",
                self.name,
                "give the dataset that `distilwatch detect` wrote to; one of an older version gets "
                "what is missing when a run writes there once, or from infra/terraform",
            )
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def clear_passing(self) -> None:
        """Removes passing tables, which writers that were killed have left. One that goes on fails,
        and must write again."""
        from google.api_core.exceptions import GoogleAPICallError

        try:
            for table in self._client.list_tables(self._dataset):
                if _PASSING.fullmatch(table.table_id):
                    self._client.delete_table(table.reference, not_found_ok=True)
        except GoogleAPICallError as error:
            raise self._refused(error) from error

    def quote(self, text: str) -> str:
        return bigquery_text(text)

    def mentions(self, column: str, name: str) -> str:
        return f"REGEXP_CONTAINS(`{column}`, {bigquery_text(mention(name))})"

    def values(self, query: str) -> list[str]:
        return [str(row[0]) for row in self._ask(query)]

    def count(self, table: str, where: str) -> int:
        (row,) = self._ask(f"SELECT COUNT(*) FROM `{table}` WHERE {where}")
        return int(row[0])

    def delete(self, table: str, where: str) -> int:
        # The emulator does not tell how many rows a statement changed.
        number = self.count(table, where)
        if number:
            self._ask(f"DELETE FROM `{table}` WHERE {where}")
        return number

    def replace(self, table: str, column: str, value: str, where: str) -> int:
        number = self.count(table, where)
        if number:
            self._ask(f"UPDATE `{table}` SET `{column}` = {value} WHERE {where}")
        return number

    def _ask(self, statement: str) -> list[Any]:
        from google.api_core.exceptions import GoogleAPICallError
        from google.cloud.bigquery import QueryJobConfig

        config = QueryJobConfig(default_dataset=self._dataset)
        try:
            return list(self._client.query(statement, job_config=config).result())
        except GoogleAPICallError as error:
            raise self._refused(error) from error

    def _refused(self, error: Any) -> DistilwatchError:
        return DistilwatchError(
            f"BigQuery refuses: {str(error.message).splitlines()[0]}",
            self.name,
            "repeat it later if it speaks of a streaming buffer; else see to the rights that "
            "infra/terraform/bigquery gives",
        )
