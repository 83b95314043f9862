"""What the triage pages need of the tables, wherever these are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from pipelines.report.story import Session
from schemas.errors import DistilwatchError
from transforms.alerts.dispositions import Disposition
from transforms.sinks import scheme_of

INDEX = pa.schema(
    [
        ("cluster_id", pa.string()),
        ("revision", pa.int64()),
        ("status", pa.string()),
        ("severity", pa.string()),
        ("p_value", pa.float64()),
        ("exposure_usd", pa.float64()),
        ("accounts", pa.int64()),
        ("requests", pa.int64()),
        ("first_seen", pa.int64()),
        ("last_seen", pa.int64()),
        ("tactics", pa.list_(pa.string())),
        ("links", pa.list_(pa.string())),
        ("capabilities", pa.list_(pa.string())),
        ("reason", pa.string()),
        ("feature", pa.string()),
    ]
)
"""The newest row of every cluster, as far as the queue shows it: times are milliseconds UTC,
capabilities those clearly taken, the reason the first in the words of then, with its feature."""

MEMBERS = pa.schema([("account_id", pa.string()), ("cluster_id", pa.string())])
"""Which account is in which cluster by its newest revision."""


class Busy(DistilwatchError):
    """The tables cannot be read just now, because they are being written."""


@dataclass(frozen=True, slots=True)
class CaseRows:
    """All rows about one cluster, times in milliseconds UTC.

    Attributes:
      cluster: its newest row of `flagged_clusters`, with `alerted`, when it was first known.
      members: rows of `cluster_members` of that revision, the most active first.
      sessions: of the members, by account.
      alerts: rows of `alerts` about the cluster, oldest first, drills left out.
    """

    cluster: Mapping[str, Any]
    members: Sequence[Mapping[str, Any]]
    sessions: Mapping[str, Sequence[Session]]
    alerts: Sequence[Mapping[str, Any]] = ()


class Store(Protocol):
    """Tables, for reading, and decisions, for adding."""

    @property
    def name(self) -> str:
        """What people call it, without folders."""

    def version(self) -> str:
        """Changes when anything in the tables has changed; cheap."""

    def index(self) -> tuple[pa.Table, pa.Table]:
        """The newest row of every cluster and its members, of schemas INDEX and MEMBERS.

        Raises:
          Busy: try again.
        """

    def case(self, cluster_id: str) -> CaseRows | None:
        """All about one cluster; None where there is none of this id.

        Raises:
          Busy: try again.
        """

    def precision(self) -> list[Mapping[str, Any]] | None:
        """Rows of the view `precision_over_time`, the newest week first; None where there is no
        such view.

        Raises:
          Busy: try again.
        """

    def dispositions(self) -> list[Disposition]:
        """All decisions and withdrawals, oldest first."""

    def append(self, row: Disposition) -> Disposition:
        """Adds a decision; returns it as it is in the table."""

    def withdraw(self, disposition_id: str, by: str, why: str, source: str) -> Disposition:
        """Takes a decision back.

        Raises:
          DistilwatchError: there is none, or somebody was faster.
        """


def open_store(uri: str, views: str = "") -> Store:
    """The store of `duckdb:///file` or `bigquery://project/dataset`.

    Args:
      uri: of the tables.
      views: of BigQuery, the dataset of the views, in the same project; "" for the tables' own.

    Raises:
      DistilwatchError: when it holds no tables of ours, or cannot be read.
    """
    if scheme_of(uri) == "bigquery":
        from pipelines.triage.bigquery_store import BigQueryStore

        return BigQueryStore.open(uri, views)
    from pipelines.tables import check_tables
    from pipelines.triage.duckdb_store import DuckDBStore

    return DuckDBStore(check_tables(uri))
