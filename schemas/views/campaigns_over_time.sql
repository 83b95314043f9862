-- How every cluster grew: one row for each day on which it was reported anew.
--
-- A new window of a cluster counts from zero again, as its first day.
--
-- day: day, UTC, by which this was known
-- cluster_id: cluster
-- window_start: begin of the profile window [UTC]
-- severity: at the end of the day
-- status: at the end of the day
-- account_count: members [accounts]
-- request_count: requests of all members [requests]
-- exposure_usd: list price of what was taken so far [USD]
-- new_accounts: more than on the day before in this list [accounts]
-- new_requests: more than on the day before in this list [requests]
-- new_exposure_usd: more than on the day before in this list [USD]
WITH known AS (
  SELECT
    DATE(COALESCE(first_alert, last_seen)) AS day,
    cluster_id, window_start, revision, severity, status, account_count, request_count,
    COALESCE(exposure_usd, 0) AS exposure_usd
  FROM flagged_clusters
),
last_of_day AS (
  SELECT * FROM known
  WHERE TRUE
  QUALIFY ROW_NUMBER() OVER (
    PARTITION BY cluster_id, window_start, day ORDER BY revision DESC) = 1
)
SELECT
  day, cluster_id, window_start, severity, status, account_count, request_count, exposure_usd,
  account_count - COALESCE(LAG(account_count) OVER (
    PARTITION BY cluster_id, window_start ORDER BY day), 0) AS new_accounts,
  request_count - COALESCE(LAG(request_count) OVER (
    PARTITION BY cluster_id, window_start ORDER BY day), 0) AS new_requests,
  exposure_usd - COALESCE(LAG(exposure_usd) OVER (
    PARTITION BY cluster_id, window_start ORDER BY day), 0) AS new_exposure_usd
FROM last_of_day
