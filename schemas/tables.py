"""Contract 2: every table, once. DuckDB DDL, Arrow schemas and BigQuery JSON are made from here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from schemas.errors import DistilwatchError

_ARROW = {
    "STRING": pa.string(),
    "INT64": pa.int64(),
    "FLOAT64": pa.float64(),
    "BYTES": pa.binary(),
    "TIMESTAMP": pa.timestamp("ms", "UTC"),
}
_DUCKDB = {
    "STRING": "VARCHAR",
    "INT64": "BIGINT",
    "FLOAT64": "DOUBLE",
    "BYTES": "BLOB",
    "TIMESTAMP": "TIMESTAMP WITH TIME ZONE",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `type` is a BigQuery type name, RECORD with `fields`; times are milliseconds UTC in rows."""

    name: str
    type: str
    description: str
    unit: str = ""
    repeated: bool = False
    fields: tuple[Column, ...] = ()

    def arrow(self) -> pa.DataType:
        """Its Arrow type."""
        kind = (
            pa.struct([pa.field(f.name, f.arrow()) for f in self.fields])
            if self.fields
            else _ARROW[self.type]
        )
        return pa.list_(kind) if self.repeated else kind

    def duckdb(self) -> str:
        """Its DuckDB type."""
        kind = (
            "STRUCT(" + ", ".join(f'"{f.name}" {f.duckdb()}' for f in self.fields) + ")"
            if self.fields
            else _DUCKDB[self.type]
        )
        return kind + ("[]" if self.repeated else "")

    def bigquery(self) -> dict[str, Any]:
        """Its entry in a BigQuery JSON schema."""
        text = f"{self.description} [{self.unit}]" if self.unit else self.description
        entry: dict[str, Any] = {
            "name": self.name,
            "type": self.type,
            "mode": "REPEATED" if self.repeated else "NULLABLE",
            "description": text,
        }
        if self.fields:
            entry["fields"] = [f.bigquery() for f in self.fields]
        return entry


@dataclass(frozen=True, slots=True)
class Table:
    """A table; rows with the same key are the same row."""

    name: str
    description: str
    key: tuple[str, ...]
    partition: str
    columns: tuple[Column, ...]

    def arrow(self) -> pa.Schema:
        """Its Arrow schema."""
        return pa.schema([pa.field(c.name, c.arrow()) for c in self.columns])

    def duckdb_ddl(self) -> str:
        """Its CREATE TABLE statement; the key makes a second write of a row replace the first."""
        columns = ", ".join(f'"{c.name}" {c.duckdb()}' for c in self.columns)
        key = ", ".join(f'"{k}"' for k in self.key)
        return f'CREATE TABLE IF NOT EXISTS "{self.name}" ({columns}, PRIMARY KEY ({key}))'

    def bigquery(self) -> list[dict[str, Any]]:
        """Its BigQuery JSON schema."""
        return [c.bigquery() for c in self.columns]

    def to_arrow(self, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        """Rows as an Arrow table.

        Raises:
          DistilwatchError: when a row has an unknown column or a value of the wrong type.
        """
        names = {c.name for c in self.columns}
        for row in rows:
            if unknown := row.keys() - names:
                raise DistilwatchError(
                    f"unknown column {', '.join(sorted(unknown))}",
                    f"table {self.name}",
                    "add it to schemas.tables first",
                )
        try:
            return pa.Table.from_pylist([dict(row) for row in rows], schema=self.arrow())
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise DistilwatchError(
                f"a row does not fit: {error}", f"table {self.name}", "give values of its types"
            ) from error


def _c(name: str, kind: str, description: str, unit: str = "") -> Column:
    return Column(name, kind, description, unit)


_RUN = (
    _c("bundle_version", "STRING", "bundle that scored the row"),
    _c("run_id", "STRING", "run that wrote the row"),
)
_FEATURES = Column(
    "features", "RECORD", "features with what is normal for the peer group at this volume",
    repeated=True,
    fields=(
        _c("name", "STRING", "feature"),
        _c("value", "FLOAT64", "as measured"),
        _c("normal_low", "FLOAT64", "lower end of the middle two thirds of its peers"),
        _c("normal_high", "FLOAT64", "upper end of the middle two thirds of its peers"),
        _c("z", "FLOAT64", "robust standard deviations from the peers' median"),
    ),
)  # fmt: skip
_REASONS = Column(
    "reasons", "RECORD", "features that made the difference, largest first", repeated=True,
    fields=(
        _c("feature", "STRING", "feature"),
        _c("value", "FLOAT64", "as measured"),
        _c("normal_low", "FLOAT64", "lower end of what is normal"),
        _c("normal_high", "FLOAT64", "upper end of what is normal"),
        _c("z", "FLOAT64", "robust standard deviations from normal"),
        _c("contribution", "FLOAT64", "fall of the score if this alone were normal"),
        _c("words", "STRING", "the reason in words"),
    ),
)  # fmt: skip
_LINKS = Column(
    "links", "RECORD", "strongest things shared with other members", repeated=True,
    fields=(
        _c("kind", "STRING", "what is shared: payment, network, client, prefix_scaffold …"),
        _c("thing", "STRING", "hash of the shared thing, 14 hex digits"),
        _c("accounts", "INT64", "accounts that share it"),
        _c("weight", "FLOAT64", "strength, falling with the number of accounts"),
    ),
)  # fmt: skip

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "session_scores",
            "One row per session, key kind and revision; level 'profile' is an account over the "
            "long window.",
            ("session_id", "revision"),
            "session_start",
            (
                _c("session_id", "STRING", "stable name of the session"),
                _c("revision", "INT64", "requests folded so far; the largest is current"),
                _c("level", "STRING", "session_account, session_payment or profile"),
                _c("key_kind", "STRING", "account or payment"),
                _c("key", "STRING", "account id, or pseudonym of the payment fingerprint"),
                _c("session_start", "TIMESTAMP", "first request", "UTC"),
                _c("session_end", "TIMESTAMP", "last request", "UTC"),
                _c("pane", "STRING", "early, on_time or late"),
                _c("peer_group", "STRING", "tier|segment; empty where the bundle knows none"),
                _c("request_count", "INT64", "requests"),
                _c("input_tokens", "INT64", "input tokens", "tokens"),
                _c("output_tokens", "INT64", "output tokens", "tokens"),
                _FEATURES,
                _c("score", "FLOAT64", "ensemble score; compare within a level only"),
                _c("p_value", "FLOAT64", "calibrated p-value of the row alone"),
                _c("combined_p_value", "FLOAT64", "with the cluster's (profiles only)"),
                _c("cluster_id", "STRING", "cluster of the account (profiles only), flagged or not"),
                *_RUN,
            ),
        ),
        Table(
            "flagged_clusters",
            "One row per flagged cluster, window and revision.",
            ("cluster_id", "window_start", "revision"),
            "first_seen",
            (
                _c("cluster_id", "STRING", "kept while the cluster grows"),
                _c("revision", "INT64", "requests seen so far; the largest is current"),
                _c("window_start", "TIMESTAMP", "begin of the profile window", "UTC"),
                _c("window_end", "TIMESTAMP", "end of the profile window", "UTC"),
                _c("status", "STRING", "open, growing, resolved or dismissed"),
                _c("severity", "STRING", "low, medium, high or critical"),
                _c("score", "FLOAT64", "ensemble score"),
                _c("p_value", "FLOAT64", "calibrated p-value"),
                _c("first_seen", "TIMESTAMP", "first request of a member", "UTC"),
                _c("last_seen", "TIMESTAMP", "last request of a member", "UTC"),
                _c("first_alert", "TIMESTAMP", "event time by which this revision was known", "UTC"),
                _c("account_count", "INT64", "accounts"),
                _c("payment_count", "INT64", "payment fingerprints, estimated above 16"),
                _c("request_count", "INT64", "requests"),
                _c("input_tokens", "INT64", "input tokens", "tokens"),
                _c("output_tokens", "INT64", "output tokens", "tokens"),
                _c("exposure_usd", "FLOAT64", "list price of what was taken", "USD"),
                _c("exposure_method", "STRING", "how the exposure was computed"),
                _REASONS,
                Column("tactics", "STRING", "names of what it seems to do", repeated=True),
                *_RUN,
            ),
        ),
        Table(
            "cluster_members",
            "Accounts of flagged clusters.",
            ("cluster_id", "revision", "account_id"),
            "since",
            (
                _c("cluster_id", "STRING", "cluster"),
                _c("revision", "INT64", "revision of the cluster"),
                _c("account_id", "STRING", "account"),
                _c("since", "TIMESTAMP", "first request of the account in the window", "UTC"),
                _c("request_count", "INT64", "its requests"),
                _c("score", "FLOAT64", "its own score"),
                _c("p_value", "FLOAT64", "its own p-value"),
                _LINKS,
                *_RUN,
            ),
        ),
        Table(
            "dead_letters",
            "Records that were refused.",
            ("source", "partition", "offset"),
            "event_time",
            (
                _c("source", "STRING", "topic or file"),
                _c("partition", "INT64", "partition, 0 for files"),
                _c("offset", "INT64", "offset, byte position for files"),
                _c("reason", "STRING", "why"),
                _c("detail", "STRING", "names and types, never values"),
                _c("raw_sha256", "STRING", "hash of the record"),
                _c("raw_bytes", "INT64", "its length", "bytes"),
                _c("event_time", "TIMESTAMP", "its time where it could be read", "UTC"),
                _c("run_id", "STRING", "run that wrote the row"),
            ),
        ),
        Table(
            "run_health",
            "What went in and what became of it; read = scored + refused + duplicate.",
            ("run_id", "metric"),
            "",
            (
                _c("run_id", "STRING", "run"),
                _c("metric", "STRING", "read, scored, refused, refused_<reason>, duplicate"),
                _c("value", "INT64", "records"),
            ),
        ),
        Table(
            "dispositions",
            "What staff decided.",
            ("cluster_id", "decided_at"),
            "decided_at",
            (
                _c("cluster_id", "STRING", "cluster"),
                _c("decision", "STRING", "confirm, dismiss, permitted or watch"),
                _c("decided_by", "STRING", "who"),
                _c("decided_at", "TIMESTAMP", "when", "UTC"),
                _c("reason", "STRING", "why"),
                _c("valid_until", "TIMESTAMP", "until when it holds", "UTC"),
            ),
        ),
    )
}

VIEWS = {
    # A session that a late event joined to an earlier one lies inside the newer row.
    "current_sessions": """
        CREATE OR REPLACE VIEW current_sessions AS
        WITH newest AS (
            SELECT * FROM session_scores
            QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY revision DESC) = 1)
        SELECT * FROM newest AS inner_row WHERE NOT EXISTS (
            SELECT 1 FROM newest AS outer_row
            WHERE outer_row.level = inner_row.level AND outer_row.key = inner_row.key
              AND outer_row.session_id <> inner_row.session_id
              AND outer_row.revision > inner_row.revision
              AND outer_row.session_start <= inner_row.session_start
              AND outer_row.session_end >= inner_row.session_end)""",
    "current_clusters": """
        CREATE OR REPLACE VIEW current_clusters AS
        SELECT * FROM flagged_clusters
        QUALIFY row_number() OVER (
            PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1""",
    "run_balance": """
        CREATE OR REPLACE VIEW run_balance AS
        SELECT run_id,
            coalesce(sum(value) FILTER (metric = 'read'), 0)::BIGINT AS records_read,
            coalesce(sum(value) FILTER (metric = 'scored'), 0)::BIGINT AS scored,
            coalesce(sum(value) FILTER (metric = 'refused'), 0)::BIGINT AS refused,
            coalesce(sum(value) FILTER (metric = 'duplicate'), 0)::BIGINT AS duplicate
        FROM run_health GROUP BY run_id""",
}
