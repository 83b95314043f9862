CREATE OR REPLACE VIEW "run_balance" AS
WITH sums AS (
  SELECT
    run_id,
    CAST(COALESCE(SUM(CASE WHEN metric = 'read' THEN value ELSE 0 END), 0) AS BIGINT) AS records_read,
    CAST(COALESCE(SUM(CASE WHEN metric = 'scored' THEN value ELSE 0 END), 0) AS BIGINT) AS scored,
    CAST(COALESCE(SUM(CASE WHEN metric = 'refused' THEN value ELSE 0 END), 0) AS BIGINT) AS refused,
    CAST(COALESCE(SUM(CASE WHEN metric = 'duplicate' THEN value ELSE 0 END), 0) AS BIGINT) AS duplicate,
    CAST(COALESCE(SUM(CASE WHEN metric = 'refused_late' THEN value ELSE 0 END), 0) AS BIGINT) AS late
  FROM run_health
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
FROM sums;
COMMENT ON VIEW "run_balance" IS 'What became of the records of each run; `unaccounted` is 0 when nothing was lost or doubled.';
COMMENT ON COLUMN "run_balance"."run_id" IS 'run';
COMMENT ON COLUMN "run_balance"."records_read" IS 'records that came in [records]';
COMMENT ON COLUMN "run_balance"."scored" IS 'events that were scored [records]';
COMMENT ON COLUMN "run_balance"."refused" IS 'records that became dead letters, late ones among them [records]';
COMMENT ON COLUMN "run_balance"."duplicate" IS 'repeats of an event that was there before [records]';
COMMENT ON COLUMN "run_balance"."late" IS 'of the refused, those that came too late [records]';
COMMENT ON COLUMN "run_balance"."unaccounted" IS 'read and neither scored nor refused nor a repeat [records]';
