WITH sums AS (
  SELECT
    run_id,
    CAST(COALESCE(SUM(IF(metric = 'read', value, 0)), 0) AS INT64) AS records_read,
    CAST(COALESCE(SUM(IF(metric = 'scored', value, 0)), 0) AS INT64) AS scored,
    CAST(COALESCE(SUM(IF(metric = 'refused', value, 0)), 0) AS INT64) AS refused,
    CAST(COALESCE(SUM(IF(metric = 'duplicate', value, 0)), 0) AS INT64) AS duplicate,
    CAST(COALESCE(SUM(IF(metric = 'refused_late', value, 0)), 0) AS INT64) AS late
  FROM `${dataset}.run_health`
  GROUP BY
    run_id
)
SELECT
  run_id,
  records_read,
  scored,
  refused,
  duplicate,
  late,
  records_read - scored - refused - duplicate AS unaccounted
FROM sums
