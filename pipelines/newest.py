"""The newest row of every flagged cluster and its accounts, wherever the tables are."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pipelines.config import Config
from pipelines.parts import bigquery_options
from pipelines.tables import check_tables, columns, connect, rows
from transforms.bigquery import parse_bigquery_uri
from transforms.sinks import scheme_of

_EVERY_S = 5.0
_LOCAL = """QUALIFY row_number() OVER (
    PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1"""
_CLUSTERS = """
    SELECT * FROM `{d}.flagged_clusters`
    QUALIFY ROW_NUMBER() OVER (
      PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1"""
_MEMBERS = """
    SELECT DISTINCT m.cluster_id, m.account_id FROM `{d}.cluster_members` AS m JOIN (
      SELECT cluster_id, revision, window_start FROM `{d}.flagged_clusters`
      WHERE TRUE QUALIFY ROW_NUMBER() OVER (
        PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1) AS c
    ON m.cluster_id = c.cluster_id AND m.revision = c.revision
      AND (m.window_start IS NULL OR m.window_start = c.window_start)
    ORDER BY cluster_id, account_id"""


class Flagged(NamedTuple):
    """What is flagged.

    Attributes:
      clusters: newest rows of `flagged_clusters`, times in milliseconds UTC.
      accounts: sorted, by cluster id.
    """

    clusters: list[dict[str, Any]]
    accounts: dict[str, list[str]]


class NewestClusters(Protocol):
    """Tables that are looked at again and again.

    Attributes:
      every_s: how often that makes sense, seconds.
    """

    every_s: float

    def read(self) -> Flagged:
        """What is flagged now.

        Raises:
          DistilwatchError: the tables cannot be read.
        """

    def news(self) -> Flagged | None:
        """What is flagged now; None where nothing was written since what was `taken`."""

    def taken(self) -> None:
        """Says that what `news` said last need not be said again."""


def newest_clusters(output: str, config: Config) -> NewestClusters:
    """The tables of an output: duckdb, parquet or bigquery.

    Raises:
      DistilwatchError: there are none.
    """
    if scheme_of(output) == "bigquery":
        return InBigQuery(output, config)
    return Local(check_tables(output))


class Local:
    """A DuckDB file, or a folder of Parquet files; see `NewestClusters`."""

    every_s = _EVERY_S

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Flagged:
        with connect(self._path) as connection:
            clusters = rows(
                connection, f"SELECT {columns('flagged_clusters')} FROM flagged_clusters {_LOCAL}"
            )
            members = rows(
                connection,
                f"""SELECT m.cluster_id, list(DISTINCT m.account_id ORDER BY m.account_id)
                      AS accounts
                    FROM cluster_members m JOIN (
                        SELECT cluster_id, revision, window_start FROM flagged_clusters {_LOCAL}) c
                    ON m.cluster_id = c.cluster_id AND m.revision = c.revision
                      AND (m.window_start IS NULL OR m.window_start = c.window_start)
                    GROUP BY m.cluster_id""",
            )
        return Flagged(clusters, {row["cluster_id"]: row["accounts"] for row in members})

    def news(self) -> Flagged | None:
        return self.read()  # a look costs nothing

    def taken(self) -> None:
        pass


class InBigQuery:
    """A dataset; see `NewestClusters`. Looks at its tables' state are free, queries are not."""

    def __init__(self, uri: str, config: Config) -> None:
        from transforms.bigquery.client import Connection

        self.every_s = config.bigquery.commit_every / 1000
        self._connection = Connection(parse_bigquery_uri(uri), bigquery_options(config))
        self._seen: Any = None
        self._taken: Any = None

    def read(self) -> Flagged:
        from transforms.bigquery.refusal import refused

        try:
            self._connection.locate()
            clusters, members = (self._rows(sql) for sql in (_CLUSTERS, _MEMBERS))
        except Exception as error:
            what = "the clusters cannot be read"
            raise refused(error, self._connection.uri, what) from error
        accounts: dict[str, list[str]] = {}
        for row in members:
            accounts.setdefault(row["cluster_id"], []).append(row["account_id"])
        return Flagged(clusters, accounts)

    def news(self) -> Flagged | None:
        from transforms.bigquery.refusal import refused

        try:
            self._seen = [self._state(name) for name in ("flagged_clusters", "cluster_members")]
        except Exception as error:
            what = "the clusters cannot be read"
            raise refused(error, self._connection.uri, what) from error
        # An emulator does not tell of changes.
        same = self._seen == self._taken and not self._connection.uri.emulated
        return None if same else self.read()

    def taken(self) -> None:
        self._taken = self._seen

    def _state(self, name: str) -> tuple[Any, ...]:
        connection = self._connection
        there = connection.call(connection.client.get_table, f"{connection.uri.dataset_id}.{name}")
        buffer = there.streaming_buffer
        return there.modified, there.num_rows, buffer.estimated_rows if buffer else 0

    def _rows(self, sql: str) -> list[dict[str, Any]]:
        from transforms.bigquery.client import in_ms

        connection = self._connection
        statement = sql.replace("{d}", connection.uri.dataset_id)
        found = connection.answer(statement, f"distilwatch-newest-{uuid.uuid4().hex}")
        return in_ms(found)
