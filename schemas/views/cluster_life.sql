-- What was found and decided of a cluster, in rows that can be read from top to bottom.
--
-- Filter by `cluster_id` and order by `moment`, `revision`. A cluster that took this one over is named
-- in `detail`; so are who decided, and why.
--
-- cluster_id: cluster
-- moment: event time; the clock's for decisions [UTC]
-- happened: began, flagged, grew, severity, resolved, joined, decision or sighting
-- detail: in words
-- revision: of the cluster; empty for decisions and sightings [requests]
-- severity: then
-- account_count: members then [accounts]
-- request_count: requests then [requests]
-- exposure_usd: list price of what had been taken then [USD]
WITH revisions AS (
  SELECT
    cluster_id, revision, window_start, status, severity, account_count, request_count,
    exposure_usd, merged_into, first_seen,
    COALESCE(first_alert, last_seen) AS known_at,
    LAG(severity) OVER (PARTITION BY cluster_id ORDER BY window_start, revision) AS before,
    LAG(status) OVER (PARTITION BY cluster_id ORDER BY window_start, revision) AS status_before,
    ROW_NUMBER() OVER (PARTITION BY cluster_id ORDER BY window_start, revision) AS number
  FROM flagged_clusters
)
SELECT
  cluster_id, first_seen AS moment, 'began' AS happened,
  'first request of a member' AS detail,
  CAST(NULL AS INT64) AS revision, CAST(NULL AS STRING) AS severity,
  CAST(NULL AS INT64) AS account_count, CAST(NULL AS INT64) AS request_count,
  CAST(NULL AS FLOAT64) AS exposure_usd
FROM revisions
WHERE number = 1
UNION ALL
SELECT
  cluster_id, known_at,
  CASE
    WHEN status = 'resolved' AND merged_into IS NOT NULL THEN 'joined'
    WHEN status = 'resolved' THEN 'resolved'
    WHEN number = 1 OR status_before = 'resolved' THEN 'flagged'
    WHEN severity <> before THEN 'severity'
    ELSE 'grew'
  END,
  CASE
    WHEN status = 'resolved' AND merged_into IS NOT NULL THEN CONCAT('to ', merged_into)
    WHEN number > 1 AND status <> 'resolved' AND severity <> before
      THEN CONCAT('from ', before, ' to ', severity)
    ELSE ''
  END,
  revision, severity, account_count, request_count, exposure_usd
FROM revisions
UNION ALL
SELECT
  cluster_id, decided_at, 'decision',
  CONCAT(decision, ' by ', decided_by, IF(reason IS NULL, '', CONCAT(': ', reason))),
  NULL, NULL, NULL, NULL, NULL
FROM dispositions
UNION ALL
SELECT
  cluster_id, first_seen, 'sighting', CONCAT('of indicator ', indicator_id),
  NULL, NULL, NULL, match_count, NULL
FROM sightings
WHERE cluster_id IS NOT NULL
