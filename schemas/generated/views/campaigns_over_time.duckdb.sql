CREATE OR REPLACE VIEW "campaigns_over_time" AS
WITH known AS (
  SELECT
    CAST((
      COALESCE(first_alert, last_seen) AT TIME ZONE 'UTC'
    ) AS DATE) AS day,
    cluster_id,
    window_start,
    revision,
    severity,
    status,
    account_count,
    request_count,
    COALESCE(exposure_usd, 0) AS exposure_usd
  FROM flagged_clusters
), last_of_day AS (
  SELECT
    *
  FROM known
  WHERE
    TRUE
  QUALIFY
    ROW_NUMBER() OVER (PARTITION BY cluster_id, window_start, day ORDER BY revision DESC) = 1
)
SELECT
  day,
  cluster_id,
  window_start,
  severity,
  status,
  account_count,
  request_count,
  exposure_usd,
  account_count - COALESCE(
    LAG(account_count) OVER (PARTITION BY cluster_id, window_start ORDER BY day NULLS FIRST),
    0
  ) AS new_accounts,
  request_count - COALESCE(
    LAG(request_count) OVER (PARTITION BY cluster_id, window_start ORDER BY day NULLS FIRST),
    0
  ) AS new_requests,
  exposure_usd - COALESCE(
    LAG(exposure_usd) OVER (PARTITION BY cluster_id, window_start ORDER BY day NULLS FIRST),
    0
  ) AS new_exposure_usd
FROM last_of_day;
COMMENT ON VIEW "campaigns_over_time" IS 'How every cluster grew: one row for each day on which it was reported anew. A new window of a cluster counts from zero again, as its first day.';
COMMENT ON COLUMN "campaigns_over_time"."day" IS 'day, UTC, by which this was known';
COMMENT ON COLUMN "campaigns_over_time"."cluster_id" IS 'cluster';
COMMENT ON COLUMN "campaigns_over_time"."window_start" IS 'begin of the profile window [UTC]';
COMMENT ON COLUMN "campaigns_over_time"."severity" IS 'at the end of the day';
COMMENT ON COLUMN "campaigns_over_time"."status" IS 'at the end of the day';
COMMENT ON COLUMN "campaigns_over_time"."account_count" IS 'members [accounts]';
COMMENT ON COLUMN "campaigns_over_time"."request_count" IS 'requests of all members [requests]';
COMMENT ON COLUMN "campaigns_over_time"."exposure_usd" IS 'list price of what was taken so far [USD]';
COMMENT ON COLUMN "campaigns_over_time"."new_accounts" IS 'more than on the day before in this list [accounts]';
COMMENT ON COLUMN "campaigns_over_time"."new_requests" IS 'more than on the day before in this list [requests]';
COMMENT ON COLUMN "campaigns_over_time"."new_exposure_usd" IS 'more than on the day before in this list [USD]';
