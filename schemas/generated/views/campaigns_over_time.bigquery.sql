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
