"""Views over the tables, in DuckDB's SQL, in the order in which they are made."""

from __future__ import annotations

from collections.abc import Mapping

VIEWS: Mapping[str, str] = {
    # A session that a late event joined to an earlier one lies inside the newer row.
    "current_sessions": """
        CREATE OR REPLACE VIEW current_sessions AS
        WITH newest AS (
            SELECT * FROM session_scores
            QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY revision DESC) = 1)
        SELECT * FROM newest AS inner_row WHERE NOT EXISTS (
            SELECT 1 FROM newest AS outer_row
            WHERE outer_row.level = inner_row.level
              AND outer_row.key_kind = inner_row.key_kind AND outer_row.key = inner_row.key
              AND outer_row.session_id <> inner_row.session_id
              AND outer_row.revision > inner_row.revision
              AND outer_row.session_start <= inner_row.session_start
              AND outer_row.session_end >= inner_row.session_end)""",
    "current_clusters": """
        CREATE OR REPLACE VIEW current_clusters AS
        SELECT * FROM flagged_clusters
        QUALIFY row_number() OVER (
            PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1""",
    # A letter that was written to a topic, and is refused there once more, is still refused.
    "dead_letter_status": """
        CREATE OR REPLACE VIEW dead_letter_status AS
        WITH newest AS (
            SELECT * FROM dead_letter_replays
            QUALIFY row_number() OVER (
                PARTITION BY source, partition, "offset"
                ORDER BY replayed_at DESC, replay_id DESC) = 1)
        SELECT letter.*,
            CASE WHEN newest.status IS NULL THEN 'open'
                 WHEN again.reason IS NOT NULL THEN 'still_refused'
                 ELSE newest.status END AS status,
            coalesce(again.reason, newest.reason) AS replay_reason,
            newest.replayed_at, newest.to_source, newest.to_partition, newest.to_offset
        FROM dead_letters AS letter
        LEFT JOIN newest ON newest.source = letter.source
            AND newest.partition = letter.partition AND newest."offset" = letter."offset"
        LEFT JOIN dead_letters AS again ON newest.status = 'replayed'
            AND again.source = newest.to_source AND again.partition = newest.to_partition
            AND again."offset" = newest.to_offset""",
    # Late records are among the refused; `unaccounted` is 0 when nothing was lost or doubled.
    "run_balance": """
        CREATE OR REPLACE VIEW run_balance AS
        WITH sums AS (
            SELECT run_id,
                coalesce(sum(value) FILTER (metric = 'read'), 0)::BIGINT AS records_read,
                coalesce(sum(value) FILTER (metric = 'scored'), 0)::BIGINT AS scored,
                coalesce(sum(value) FILTER (metric = 'refused'), 0)::BIGINT AS refused,
                coalesce(sum(value) FILTER (metric = 'duplicate'), 0)::BIGINT AS duplicate,
                coalesce(sum(value) FILTER (metric = 'refused_late'), 0)::BIGINT AS late
            FROM run_health GROUP BY run_id)
        SELECT *, records_read - scored - refused - duplicate AS unaccounted FROM sums""",
}
