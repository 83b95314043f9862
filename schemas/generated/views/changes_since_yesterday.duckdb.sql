CREATE OR REPLACE VIEW "changes_since_yesterday" AS
WITH known AS (
  SELECT
    cluster_id,
    window_start,
    revision,
    status,
    severity,
    account_count,
    request_count,
    COALESCE(exposure_usd, 0) AS exposure_usd,
    COALESCE(first_alert, last_seen) AS known_at
  FROM flagged_clusters
), clock AS (
  SELECT
    MAX(known_at) AS latest
  FROM known
), newest AS (
  SELECT
    *
  FROM known
  WHERE
    TRUE
  QUALIFY
    ROW_NUMBER() OVER (PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1
), earlier AS (
  SELECT
    k.*
  FROM known AS k
  CROSS JOIN clock AS t
  WHERE
    k.known_at <= (
      t.latest - INTERVAL '24' HOUR
    )
  QUALIFY
    ROW_NUMBER() OVER (PARTITION BY k.cluster_id ORDER BY k.window_start DESC, k.revision DESC) = 1
)
SELECT
  n.cluster_id,
  CASE
    WHEN e.cluster_id IS NULL
    THEN 'new'
    WHEN n.status = 'resolved'
    THEN 'resolved'
    WHEN e.status = 'resolved'
    THEN 'back'
    WHEN n.severity <> e.severity
    THEN 'severity'
    ELSE 'grown'
  END AS change,
  e.severity AS severity_before,
  n.severity AS severity_now,
  COALESCE(e.account_count, 0) AS accounts_before,
  n.account_count AS accounts_now,
  COALESCE(e.request_count, 0) AS requests_before,
  n.request_count AS requests_now,
  n.exposure_usd - CASE WHEN e.window_start = n.window_start THEN e.exposure_usd ELSE 0 END AS exposure_added_usd,
  n.known_at AS changed_at
FROM newest AS n
LEFT JOIN earlier AS e
  ON e.cluster_id = n.cluster_id
WHERE
  (
    e.cluster_id IS NULL AND n.status <> 'resolved'
  )
  OR e.window_start <> n.window_start
  OR e.revision <> n.revision
  OR e.status <> n.status;
COMMENT ON VIEW "changes_since_yesterday" IS 'Clusters that are other than they were a day ago. Now is the latest time that any cluster was reported for, so that a run over old events has a yesterday, too.';
COMMENT ON COLUMN "changes_since_yesterday"."cluster_id" IS 'cluster';
COMMENT ON COLUMN "changes_since_yesterday"."change" IS 'new, resolved, back, severity or grown; the first of these that fits';
COMMENT ON COLUMN "changes_since_yesterday"."severity_before" IS 'a day ago; empty for new ones';
COMMENT ON COLUMN "changes_since_yesterday"."severity_now" IS 'now';
COMMENT ON COLUMN "changes_since_yesterday"."accounts_before" IS 'a day ago; 0 for new ones [accounts]';
COMMENT ON COLUMN "changes_since_yesterday"."accounts_now" IS 'now [accounts]';
COMMENT ON COLUMN "changes_since_yesterday"."requests_before" IS 'a day ago; 0 for new ones [requests]';
COMMENT ON COLUMN "changes_since_yesterday"."requests_now" IS 'now [requests]';
COMMENT ON COLUMN "changes_since_yesterday"."exposure_added_usd" IS 'list price of what was taken since [USD]';
COMMENT ON COLUMN "changes_since_yesterday"."changed_at" IS 'when the newest revision was known [UTC]';
