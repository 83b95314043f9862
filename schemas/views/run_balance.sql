-- What became of the records of each run; `unaccounted` is 0 when nothing was lost or doubled.
--
-- run_id: run
-- records_read: records that came in [records]
-- scored: events that were scored [records]
-- refused: records that became dead letters, late ones among them [records]
-- duplicate: repeats of an event that was there before [records]
-- late: of the refused, those that came too late [records]
-- unaccounted: read and neither scored nor refused nor a repeat [records]
WITH sums AS (
  SELECT
    run_id,
    CAST(COALESCE(SUM(IF(metric = 'read', value, 0)), 0) AS INT64) AS records_read,
    CAST(COALESCE(SUM(IF(metric = 'scored', value, 0)), 0) AS INT64) AS scored,
    CAST(COALESCE(SUM(IF(metric = 'refused', value, 0)), 0) AS INT64) AS refused,
    CAST(COALESCE(SUM(IF(metric = 'duplicate', value, 0)), 0) AS INT64) AS duplicate,
    CAST(COALESCE(SUM(IF(metric = 'refused_late', value, 0)), 0) AS INT64) AS late
  FROM run_health
  GROUP BY run_id
)
SELECT
  run_id, records_read, scored, refused, duplicate, late,
  records_read - scored - refused - duplicate AS unaccounted
FROM sums
