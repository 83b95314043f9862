-- Clusters that are other than they were a day ago.
--
-- Now is the latest time that any cluster was reported for, so that a run over old events has a
-- yesterday, too.
--
-- cluster_id: cluster
-- change: new, resolved, back, severity or grown; the first of these that fits
-- severity_before: a day ago; empty for new ones
-- severity_now: now
-- accounts_before: a day ago; 0 for new ones [accounts]
-- accounts_now: now [accounts]
-- requests_before: a day ago; 0 for new ones [requests]
-- requests_now: now [requests]
-- exposure_added_usd: list price of what was taken since [USD]
-- changed_at: when the newest revision was known [UTC]
WITH known AS (
  SELECT
    cluster_id, window_start, revision, status, severity, account_count, request_count,
    COALESCE(exposure_usd, 0) AS exposure_usd,
    COALESCE(first_alert, last_seen) AS known_at
  FROM flagged_clusters
),
clock AS (
  SELECT MAX(known_at) AS latest FROM known
),
newest AS (
  SELECT * FROM known
  WHERE TRUE
  QUALIFY ROW_NUMBER() OVER (
    PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1
),
earlier AS (
  SELECT k.* FROM known AS k
  CROSS JOIN clock AS t
  WHERE k.known_at <= TIMESTAMP_SUB(t.latest, INTERVAL 24 HOUR)
  QUALIFY ROW_NUMBER() OVER (
    PARTITION BY k.cluster_id ORDER BY k.window_start DESC, k.revision DESC) = 1
)
SELECT
  n.cluster_id,
  CASE
    WHEN e.cluster_id IS NULL THEN 'new'
    WHEN n.status = 'resolved' THEN 'resolved'
    WHEN e.status = 'resolved' THEN 'back'
    WHEN n.severity <> e.severity THEN 'severity'
    ELSE 'grown'
  END AS change,
  e.severity AS severity_before,
  n.severity AS severity_now,
  COALESCE(e.account_count, 0) AS accounts_before,
  n.account_count AS accounts_now,
  COALESCE(e.request_count, 0) AS requests_before,
  n.request_count AS requests_now,
  n.exposure_usd - IF(e.window_start = n.window_start, e.exposure_usd, 0) AS exposure_added_usd,
  n.known_at AS changed_at
FROM newest AS n
LEFT JOIN earlier AS e ON e.cluster_id = n.cluster_id
WHERE (e.cluster_id IS NULL AND n.status <> 'resolved')
  OR e.window_start <> n.window_start
  OR e.revision <> n.revision
  OR e.status <> n.status
