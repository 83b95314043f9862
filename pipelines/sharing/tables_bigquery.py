"""What sharing reads from the tables of a BigQuery dataset, and writes to them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from pipelines.decisions import DecidedTables
from pipelines.decisions_bigquery import BigQueryTables
from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from transforms.bigquery.client import BigQueryOptions, Connection, api, errors, in_ms
from transforms.bigquery.refusal import refused
from transforms.bigquery.uri import parse_bigquery_uri
from transforms.sharing.indicators import Direction, Indicator, Sighting
from transforms.sinks.bigquery.write import BigQuerySink

_EVIDENCE = """
    SELECT * FROM `{d}.cluster_evidence` WHERE cluster_id = @cluster
    ORDER BY window_start DESC, revision DESC LIMIT 1"""
_MEMBERS = """
    SELECT DISTINCT account_id FROM `{d}.cluster_members`
    WHERE cluster_id = @cluster AND revision = @revision
      AND (window_start IS NULL OR window_start = TIMESTAMP_MILLIS(@window)) ORDER BY account_id"""
_KEYS = """
    SELECT DISTINCT `key` FROM `{d}.session_scores`
    WHERE key_kind = @kind AND (`key` IN UNNEST(@words) OR LOWER(`key`) IN UNNEST(@words))"""
_SOME = "SELECT 1 AS one FROM `{d}.session_scores` WHERE key_kind = 'account' LIMIT 1"
_INDICATORS = "SELECT * FROM `{d}.indicators` WHERE direction = @direction ORDER BY indicator_id"
_SIGHTINGS = "SELECT * FROM `{d}.sightings` ORDER BY sighting_id"
# A command does not know when the run that made the tables lets days expire.
_OPTIONS = BigQueryOptions(expire_ms=None)


class BigQueryShared:
    """A dataset that `detect` writes to; see `pipelines.sharing.tables.SharedTables`."""

    def __init__(self, uri: str) -> None:
        """Connects.

        Raises:
          DistilwatchError: the dataset holds no tables of ours, or cannot be read.
        """
        self._uri = uri
        self._connection = connection = Connection(parse_bigquery_uri(uri), _OPTIONS)
        self.place = connection.uri.place
        try:
            connection.locate()
            connection.call(
                connection.client.get_table, f"{connection.uri.dataset_id}.flagged_clusters"
            )
        except Exception as error:
            raise refused(error, connection.uri, "the tables cannot be read") from error
        self.decided: DecidedTables = BigQueryTables(uri)

    def evidence(self, cluster_id: str) -> dict[str, Any] | None:
        found = self._rows(_EVIDENCE, cluster=cluster_id)
        return found[0] if found else None

    def members(self, cluster_id: str, window_start_ms: int, revision: int) -> list[str]:
        found = self._rows(_MEMBERS, cluster=cluster_id, window=window_start_ms, revision=revision)
        return [row["account_id"] for row in found]

    def payment_names(self, words: Sequence[str]) -> list[str]:
        return self._keys("payment", words)

    def account_names(self, words: Sequence[str]) -> list[str]:
        return self._keys("account", words)

    def has_accounts(self) -> bool:
        return bool(self._rows(_SOME))

    def _keys(self, kind: str, words: Sequence[str]) -> list[str]:
        return [row["key"] for row in self._rows(_KEYS, kind=kind, words=list(words))]

    def indicators(self, direction: Direction) -> list[Indicator]:
        return [Indicator.from_row(row) for row in self._rows(_INDICATORS, direction=direction)]

    def sightings(self) -> list[Sighting]:
        return [Sighting.from_row(row) for row in self._rows(_SIGHTINGS)]

    def write(self, indicators: Sequence[Indicator], direction: Direction) -> None:
        rows = TABLES["indicators"].to_arrow([one.to_row(direction) for one in indicators])
        sink = BigQuerySink(self._uri, "command", _OPTIONS)
        _, letters = sink.write_table("indicators", rows)
        if letters:
            raise DistilwatchError(
                f"{len(letters)} of {len(indicators)} indicators were refused",
                f"{self.place}/indicators",
                f"the first: {letters[0]['detail']}; the table dead_letters has all of them",
            )

    def _rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """Rows with times in milliseconds UTC; none where there is no such table."""
        parameters = [_parameter(name, value) for name, value in values.items()]
        connection = self._connection
        statement = sql.replace("{d}", connection.uri.dataset_id)
        try:
            name = f"distilwatch-share-{uuid.uuid4().hex}"
            return in_ms(connection.answer(statement, name, parameters))
        except errors.NotFound:
            return []  # the dataset is there, as we know; an older version has no such table
        except Exception as error:
            raise refused(error, connection.uri, "the tables cannot be read") from error


def _parameter(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return api.ArrayQueryParameter(name, "STRING", value)
    return api.ScalarQueryParameter(name, "STRING" if isinstance(value, str) else "INT64", value)
