-- Accounts of clusters that are flagged, not resolved, and that nobody has dismissed or permitted, with what each took.
--
-- A cluster's exposure is divided among its members by their requests; windows are added up.
--
-- account_id: account
-- exposure_usd: its part of the list price of what was taken [USD]
-- request_count: its requests in flagged clusters [requests]
-- cluster_count: clusters that it is or was in [clusters]
-- latest_cluster_id: the one of its newest window
-- severity: the gravest of them
-- p_value: its own smallest p-value [probability]
-- since: its first request in any of them [UTC]
WITH taken AS (
  SELECT
    m.account_id, m.since, m.p_value, m.request_count,
    c.cluster_id, c.window_start, c.revision,
    COALESCE(c.exposure_usd, 0) * COALESCE(SAFE_DIVIDE(m.request_count, c.request_count), 0)
      AS exposure_usd,
    CASE c.severity WHEN 'critical' THEN 4 WHEN 'high' THEN 3 WHEN 'medium' THEN 2 ELSE 1 END
      AS gravity
  FROM cluster_windows AS c
  JOIN cluster_members AS m ON m.cluster_id = c.cluster_id AND m.revision = c.revision
  WHERE c.status NOT IN ('resolved', 'dismissed')
    AND c.cluster_id NOT IN (
      SELECT cluster_id FROM current_verdicts WHERE decision IN ('dismiss', 'permitted'))
    AND (m.window_start IS NULL OR m.window_start = c.window_start)
),
latest AS (
  SELECT account_id, cluster_id FROM taken
  WHERE TRUE
  QUALIFY ROW_NUMBER() OVER (
    PARTITION BY account_id ORDER BY window_start DESC, revision DESC, cluster_id) = 1
),
sums AS (
  SELECT
    account_id,
    SUM(exposure_usd) AS exposure_usd,
    CAST(COALESCE(SUM(request_count), 0) AS INT64) AS request_count,
    COUNT(DISTINCT cluster_id) AS cluster_count,
    MAX(gravity) AS gravity,
    MIN(p_value) AS p_value,
    MIN(since) AS since
  FROM taken
  GROUP BY account_id
)
SELECT
  s.account_id, s.exposure_usd, s.request_count, s.cluster_count,
  l.cluster_id AS latest_cluster_id,
  CASE s.gravity WHEN 4 THEN 'critical' WHEN 3 THEN 'high' WHEN 2 THEN 'medium' ELSE 'low' END
    AS severity,
  s.p_value, s.since
FROM sums AS s
JOIN latest AS l ON l.account_id = s.account_id
