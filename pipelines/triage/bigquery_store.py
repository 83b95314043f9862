"""The tables in BigQuery, through queries of google-cloud-bigquery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from google.api_core.exceptions import GoogleAPIError, NotFound
from google.cloud import bigquery as api

from pipelines.triage.sessions import sessions_in
from pipelines.triage.store import INDEX, MEMBERS, CaseRows
from schemas.errors import DistilwatchError
from transforms.alerts.decision_store_bigquery import BigQueryDispositions
from transforms.alerts.dispositions import Disposition
from transforms.bigquery.client import Connection, in_ms
from transforms.bigquery.uri import parse_bigquery_uri
from transforms.spans import span

_NEEDED = ("flagged_clusters", "cluster_members")
# Cases are kept until one of these changes; steps of alerts come after the rows that they are of.
_WATCHED = (*_NEEDED, "dispositions", "alerts")

_INDEX = """
    SELECT cluster_id, revision, IFNULL(status, 'open') AS status,
      IFNULL(severity, 'low') AS severity, p_value, exposure_usd, account_count AS accounts,
      request_count AS requests, first_seen, last_seen, tactics, capabilities, reasons
    FROM `{d}.flagged_clusters`
    QUALIFY ROW_NUMBER() OVER (
      PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1"""
_MEMBERS = """
    SELECT m.account_id, m.cluster_id, m.links FROM `{d}.cluster_members` AS m JOIN (
      SELECT cluster_id, revision, window_start FROM `{d}.flagged_clusters`
      WHERE TRUE QUALIFY ROW_NUMBER() OVER (
        PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1) AS c
    ON m.cluster_id = c.cluster_id AND m.revision = c.revision
      AND (m.window_start IS NULL OR m.window_start = c.window_start)"""
_CASE = """
    SELECT *, MIN(first_alert) OVER (PARTITION BY cluster_id) AS alerted
    FROM `{d}.flagged_clusters` WHERE cluster_id = @cluster
    ORDER BY window_start DESC, revision DESC LIMIT 1"""
_OF_CASE = """
    SELECT * FROM `{d}.cluster_members` WHERE cluster_id = @cluster AND revision = @revision
      AND (window_start IS NULL OR window_start = TIMESTAMP_MILLIS(@window))
    ORDER BY request_count DESC, account_id"""
_SESSIONS = """
    SELECT session_id, key, session_start, session_end, revision, request_count,
      output_tokens
    FROM `{d}.session_scores`
    WHERE level <> 'profile' AND key_kind = 'account' AND key IN UNNEST(@accounts)
    QUALIFY ROW_NUMBER() OVER (PARTITION BY session_id ORDER BY revision DESC) = 1"""

_ALERTS = """
    SELECT * FROM `{d}.alerts` WHERE cluster_id = @cluster AND IFNULL(namespace, '') <> 'drill'
    ORDER BY changed_at, revision"""
_PRECISION = "SELECT * FROM `{v}.precision_over_time` ORDER BY week DESC, policy"


class BigQueryStore:
    """A dataset that `detect` writes to.

    Args:
      connection: to the dataset.
      views: dataset of the views, in the same project; "" for the same.
    """

    def __init__(self, connection: Connection, views: str = "") -> None:
        self._client = connection.client
        self._views = f"{connection.uri.project}.{views}" if views else connection.uri.dataset_id
        self._dataset = self._name = connection.uri.dataset_id
        self._decisions = BigQueryDispositions(connection)

    @classmethod
    def open(cls, uri: str, views: str = "") -> BigQueryStore:
        """The store of `bigquery://project/dataset`; see docs/bigquery.md.

        Args:
          uri: of the tables.
          views: see the class.

        Raises:
          DistilwatchError: when the address is none, or holds no tables of ours.
        """
        connection = Connection(parse_bigquery_uri(uri))
        dataset = connection.uri.dataset_id
        try:
            for table in _NEEDED:
                connection.client.get_table(f"{dataset}.{table}")
        except GoogleAPIError as error:
            raise DistilwatchError(
                f"the tables cannot be read: {str(error).splitlines()[0]}", f"--output {uri}",
                "check project, dataset and credentials; `distilwatch detect` makes the tables",
            ) from error  # fmt: skip
        return cls(connection, views)

    @property
    def name(self) -> str:
        return self._name

    def version(self) -> str:
        marks = []
        for name in _WATCHED:
            try:
                found = self._client.get_table(f"{self._dataset}.{name}")
            except GoogleAPIError:
                continue
            # Rows that came in last are in neither of these for a while, but in the buffer.
            buffer = found.streaming_buffer
            late = buffer.estimated_rows if buffer is not None else 0
            marks.append(f"{name}@{found.modified}+{found.num_rows}+{late}")
        return "/".join(marks)

    def index(self) -> tuple[pa.Table, pa.Table]:
        kinds: dict[str, set[str]] = {}
        members = []
        for row in self._rows(_MEMBERS):
            members.append({name: row[name] for name in MEMBERS.names})
            shared = {link["kind"] for link in row["links"] or ()}
            kinds.setdefault(row["cluster_id"], set()).update(shared)
        clusters = [
            row
            | {
                "links": sorted(kinds.get(row["cluster_id"], ())),
                "capabilities": [c["name"] for c in row["capabilities"] or () if c["taken"]],
                "reason": row["reasons"][0]["words"] if row["reasons"] else None,
                "feature": row["reasons"][0]["feature"] if row["reasons"] else None,
            }
            for row in self._rows(_INDEX)
        ]
        return (
            pa.Table.from_pylist([{n: c[n] for n in INDEX.names} for c in clusters], INDEX),
            pa.Table.from_pylist(members, MEMBERS),
        )

    def case(self, cluster_id: str) -> CaseRows | None:
        found = self._rows(_CASE, cluster=cluster_id)
        if not found:
            return None
        members = self._rows(
            _OF_CASE,
            cluster=cluster_id,
            window=found[0]["window_start"],
            revision=found[0]["revision"],
        )
        rows = self._rows(_SESSIONS, accounts=[m["account_id"] for m in members])
        alerts = self._if_there(_ALERTS, cluster=cluster_id) or ()
        return CaseRows(found[0], members, sessions_in(rows), alerts)

    def precision(self) -> list[Mapping[str, Any]] | None:
        return self._if_there(_PRECISION)

    def dispositions(self) -> list[Disposition]:
        return self._decisions.rows()

    def append(self, row: Disposition) -> Disposition:
        return self._decisions.append(row)[0]

    def withdraw(self, disposition_id: str, by: str, why: str, source: str) -> Disposition:
        return self._decisions.withdraw(disposition_id, by, why, source)

    def _if_there(self, sql: str, **values: Any) -> list[Mapping[str, Any]] | None:
        """Rows; None where the table or view is not there."""
        try:
            return list(self._rows(sql, **values))
        except DistilwatchError as refused:
            if isinstance(refused.__cause__, NotFound):
                return None
            raise

    def _rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        parameters: list[Any] = []
        for name, value in values.items():
            if isinstance(value, list):
                parameters.append(api.ArrayQueryParameter(name, "STRING", value))
            else:
                kind = "INT64" if isinstance(value, int) else "STRING"
                parameters.append(api.ScalarQueryParameter(name, kind, value))
        return in_ms(self._ask(sql, parameters))

    def _ask(self, sql: str, parameters: Sequence[Any]) -> Any:
        config = api.QueryJobConfig(query_parameters=list(parameters))
        try:
            asked = sql.replace("{d}", self._dataset).replace("{v}", self._views)
            with span("ask BigQuery"):
                return self._client.query(asked, config).result()
        except GoogleAPIError as error:
            raise DistilwatchError(
                f"BigQuery refuses: {str(error).splitlines()[0]}", self._name, "try again"
            ) from error
