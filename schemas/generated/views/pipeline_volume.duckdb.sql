CREATE OR REPLACE VIEW "pipeline_volume" AS
WITH list_price AS (
  SELECT
    0.025 AS usd_to_write_gib,
    0.02 AS usd_to_keep_gib
), written AS (
  SELECT
    run_id,
    'session_scores' AS table_name,
    COUNT(*) AS row_count,
    COUNT(DISTINCT session_id) AS things,
    SUM(260 + 52 * ARRAY_LENGTH(features)) AS bytes
  FROM session_scores
  GROUP BY
    run_id
  UNION ALL
  SELECT
    run_id,
    'flagged_clusters',
    COUNT(*),
    COUNT(DISTINCT cluster_id),
    SUM(
      300 + 110 * ARRAY_LENGTH(reasons) + 34 * ARRAY_LENGTH(links) + 62 * ARRAY_LENGTH(capabilities) + 20 * ARRAY_LENGTH(tactics)
    )
  FROM flagged_clusters
  GROUP BY
    run_id
  UNION ALL
  SELECT
    run_id,
    'cluster_members',
    COUNT(*),
    COUNT(DISTINCT cluster_id || ' ' || account_id),
    SUM(140 + 46 * ARRAY_LENGTH(links))
  FROM cluster_members
  GROUP BY
    run_id
  UNION ALL
  SELECT
    run_id,
    'dead_letters',
    COUNT(*),
    COUNT(*),
    SUM(230 + CASE WHEN raw IS NULL THEN 0 ELSE COALESCE(raw_bytes, 0) END)
  FROM dead_letters
  GROUP BY
    run_id
)
SELECT
  COALESCE(w.run_id, '') AS run_id,
  w.table_name,
  w.row_count,
  w.things,
  CASE WHEN w.things <> 0 THEN w.row_count / w.things ELSE NULL END AS rows_per_thing,
  w.bytes / 1048576 AS mib,
  w.bytes / 1073741824 * p.usd_to_write_gib AS usd_to_write,
  w.bytes / 1073741824 * p.usd_to_keep_gib AS usd_to_keep,
  CASE WHEN b.records_read <> 0 THEN w.bytes / b.records_read ELSE NULL END AS bytes_per_record
FROM written AS w
CROSS JOIN list_price AS p
LEFT JOIN run_balance AS b
  ON b.run_id = w.run_id;
COMMENT ON VIEW "pipeline_volume" IS 'What each run wrote into the tables of sessions, clusters, members and dead letters, about how large that is, and what it costs in BigQuery. Bytes follow BigQuery''s rules for logical bytes (8 for a number or a time, 2 and the length for a text) with a mean length for texts. Prices are Google''s list prices for the US multi-region (cloud.google.com/bigquery/pricing, looked up in November 2026): 0.025 USD to write a GiB over the Storage Write API, 0.02 USD to keep one for a month as active logical storage. Load jobs are free, and so are the first 2 TiB written and 10 GiB kept a month, which is not taken off here. Where other prices hold, take `mib` times yours.';
COMMENT ON COLUMN "pipeline_volume"."run_id" IS 'run';
COMMENT ON COLUMN "pipeline_volume"."table_name" IS 'table';
COMMENT ON COLUMN "pipeline_volume"."row_count" IS 'rows, all revisions [rows]';
COMMENT ON COLUMN "pipeline_volume"."things" IS 'different sessions, clusters, members or records [things]';
COMMENT ON COLUMN "pipeline_volume"."rows_per_thing" IS 'how often one was written anew';
COMMENT ON COLUMN "pipeline_volume"."mib" IS 'logical size, estimated [MiB]';
COMMENT ON COLUMN "pipeline_volume"."usd_to_write" IS 'once [USD]';
COMMENT ON COLUMN "pipeline_volume"."usd_to_keep" IS 'a month [USD]';
COMMENT ON COLUMN "pipeline_volume"."bytes_per_record" IS 'of each record that the run read [bytes]';
