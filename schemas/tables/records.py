"""What became of records: those that were refused, their replays, and the counts of a run."""

from __future__ import annotations

from schemas.model import Column, Table
from schemas.tables.columns import may, must

DEAD_LETTERS = Table(
    "dead_letters",
    "Records that were refused, with their place and reason. Prompt text is never here in clear.",
    ("source", "partition", "offset"),
    "event_time",
    ("reason", "source"),
    (
        must("source", "STRING", "topic or file"),
        must("partition", "INT64", "partition of the topic, 0 for files", "number"),
        must("offset", "INT64", "offset in the partition; position for files", "records or bytes"),
        must("reason", "STRING", "why, one stable word; docs/dead_letters.md lists them"),
        may("detail", "STRING", "names and types, never values"),
        may("raw_sha256", "STRING", "SHA-256 of the record, 64 hex digits"),
        may("raw_bytes", "INT64", "length of the record", "bytes"),
        may("event_time", "TIMESTAMP", "its time where it could be read", "UTC"),
        may("run_id", "STRING", "run that wrote the row"),
        may("schema_id", "INT64", "id in the schema registry, of records that bring one", "id"),
        may(
            "raw",
            "BYTES",
            "the record, encrypted; empty unless a key is configured, and for long ones",
        ),
    ),
)

DEAD_LETTER_REPLAYS = Table(
    "dead_letter_replays",
    "What became of dead letters that were replayed: one row per letter and replay. The view "
    "`dead_letter_status` has the status of each letter.",
    ("source", "partition", "offset", "replay_id"),
    "replayed_at",
    ("status", "source"),
    (
        must("source", "STRING", "of the letter"),
        must("partition", "INT64", "of the letter", "number"),
        must("offset", "INT64", "of the letter", "records or bytes"),
        must("replay_id", "STRING", "the replay"),
        must("status", "STRING", "replayed, still_refused, or gone: its bytes are nowhere"),
        must("replayed_at", "TIMESTAMP", "when", "UTC"),
        may("reason", "STRING", "why it is still refused, or gone"),
        may("to_source", "STRING", "topic or file that it was written to, or detect"),
        may("to_partition", "INT64", "partition that it was written to", "number"),
        may("to_offset", "INT64", "offset that it has there", "records"),
    ),
)

RUN_HEALTH = Table(
    "run_health",
    "What went in and what became of it: read = scored + refused + duplicate, late records being "
    "among the refused. The view `run_balance` does the sums.",
    ("run_id", "stage", "metric", "source"),
    "",
    ("run_id", "metric"),
    (
        must("run_id", "STRING", "run"),
        must("metric", "STRING", "read, scored, refused, refused_<reason>, duplicate …"),
        must("value", "INT64", "how many", "records"),
        Column("stage", "STRING", "REQUIRED", "stage that counted; empty for the run", default=""),
        Column("source", "STRING", "REQUIRED", "topic or file; empty for all", default=""),
    ),
)
