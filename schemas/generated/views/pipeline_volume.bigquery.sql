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
  FROM `${dataset}.session_scores`
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
  FROM `${dataset}.flagged_clusters`
  GROUP BY
    run_id
  UNION ALL
  SELECT
    run_id,
    'cluster_members',
    COUNT(*),
    COUNT(DISTINCT CONCAT(cluster_id, ' ', account_id)),
    SUM(140 + 46 * ARRAY_LENGTH(links))
  FROM `${dataset}.cluster_members`
  GROUP BY
    run_id
  UNION ALL
  SELECT
    run_id,
    'dead_letters',
    COUNT(*),
    COUNT(*),
    SUM(230 + IF(raw IS NULL, 0, COALESCE(raw_bytes, 0)))
  FROM `${dataset}.dead_letters`
  GROUP BY
    run_id
)
SELECT
  COALESCE(w.run_id, '') AS run_id,
  w.table_name,
  w.row_count,
  w.things,
  SAFE_DIVIDE(w.row_count, w.things) AS rows_per_thing,
  w.bytes / 1048576 AS mib,
  w.bytes / 1073741824 * p.usd_to_write_gib AS usd_to_write,
  w.bytes / 1073741824 * p.usd_to_keep_gib AS usd_to_keep,
  SAFE_DIVIDE(w.bytes, b.records_read) AS bytes_per_record
FROM written AS w
CROSS JOIN list_price AS p
LEFT JOIN `${views}.run_balance` AS b
  ON b.run_id = w.run_id
