"""Clusters of a BigQuery dataset, and what is decided about them."""

from __future__ import annotations

import uuid
from typing import Any

from pipelines.decisions import the_one
from transforms.alerts.decision_store import Decisions
from transforms.alerts.decision_store_bigquery import BigQueryDispositions
from transforms.bigquery.client import Connection, api, in_ms
from transforms.bigquery.refusal import refused
from transforms.bigquery.uri import parse_bigquery_uri

_NEWEST = """
    SELECT * FROM `{dataset}.flagged_clusters` WHERE STARTS_WITH(cluster_id, @cluster)
    QUALIFY ROW_NUMBER() OVER (
      PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1"""
_MEMBERS = """
    SELECT account_id FROM `{dataset}.cluster_members`
    WHERE cluster_id = @cluster
      AND (window_start IS NULL OR window_start = TIMESTAMP_MILLIS(@window))
    QUALIFY RANK() OVER (ORDER BY revision DESC) = 1 ORDER BY account_id"""


class BigQueryTables:
    """A dataset that `detect` writes to; see `pipelines.decisions.DecidedTables`."""

    def __init__(self, uri: str) -> None:
        self._connection = Connection(parse_bigquery_uri(uri))
        self.decisions: Decisions = BigQueryDispositions(self._connection)

    def cluster_of(self, cluster_id: str) -> tuple[dict[str, Any], list[str]]:
        found = self._ask(_NEWEST, api.ScalarQueryParameter("cluster", "STRING", cluster_id))
        cluster = the_one(found, cluster_id, self._connection.uri.place)
        members = self._ask(
            _MEMBERS,
            api.ScalarQueryParameter("cluster", "STRING", cluster["cluster_id"]),
            api.ScalarQueryParameter("window", "INT64", cluster["window_start"]),
        )
        return cluster, [member["account_id"] for member in members]

    def _ask(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        connection = self._connection
        try:
            connection.locate()
            statement = sql.format(dataset=connection.uri.dataset_id)
            name = f"distilwatch-cluster-{uuid.uuid4().hex}"
            return in_ms(connection.answer(statement, name, parameters))
        except Exception as error:
            raise refused(error, connection.uri, "the clusters cannot be read") from error
