CREATE OR REPLACE VIEW `${views}.campaigns_over_time` (
  `day` OPTIONS(description="day, UTC, by which this was known"),
  `cluster_id` OPTIONS(description="cluster"),
  `window_start` OPTIONS(description="begin of the profile window [UTC]"),
  `severity` OPTIONS(description="at the end of the day"),
  `status` OPTIONS(description="at the end of the day"),
  `account_count` OPTIONS(description="members [accounts]"),
  `request_count` OPTIONS(description="requests of all members [requests]"),
  `exposure_usd` OPTIONS(description="list price of what was taken so far [USD]"),
  `new_accounts` OPTIONS(description="more than on the day before in this list [accounts]"),
  `new_requests` OPTIONS(description="more than on the day before in this list [requests]"),
  `new_exposure_usd` OPTIONS(description="more than on the day before in this list [USD]")
)
OPTIONS(description="How every cluster grew: one row for each day on which it was reported anew. A new window of a cluster counts from zero again, as its first day.")
AS
WITH known AS (
  SELECT
    DATE(COALESCE(first_alert, last_seen)) AS day,
    cluster_id,
    window_start,
    revision,
    severity,
    status,
    account_count,
    request_count,
    COALESCE(exposure_usd, 0) AS exposure_usd
  FROM `${dataset}.flagged_clusters`
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
  account_count - COALESCE(LAG(account_count) OVER (PARTITION BY cluster_id, window_start ORDER BY day), 0) AS new_accounts,
  request_count - COALESCE(LAG(request_count) OVER (PARTITION BY cluster_id, window_start ORDER BY day), 0) AS new_requests,
  exposure_usd - COALESCE(LAG(exposure_usd) OVER (PARTITION BY cluster_id, window_start ORDER BY day), 0) AS new_exposure_usd
FROM last_of_day
