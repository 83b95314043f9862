CREATE OR REPLACE VIEW "cluster_life" AS
WITH revisions AS (
  SELECT
    cluster_id,
    revision,
    window_start,
    status,
    severity,
    account_count,
    request_count,
    exposure_usd,
    merged_into,
    first_seen,
    COALESCE(first_alert, last_seen) AS known_at,
    LAG(severity) OVER (PARTITION BY cluster_id ORDER BY window_start NULLS FIRST, revision NULLS FIRST) AS before,
    LAG(status) OVER (PARTITION BY cluster_id ORDER BY window_start NULLS FIRST, revision NULLS FIRST) AS status_before,
    ROW_NUMBER() OVER (PARTITION BY cluster_id ORDER BY window_start NULLS FIRST, revision NULLS FIRST) AS number
  FROM flagged_clusters
)
SELECT
  cluster_id,
  first_seen AS moment,
  'began' AS happened,
  'first request of a member' AS detail,
  CAST(NULL AS BIGINT) AS revision,
  CAST(NULL AS TEXT) AS severity,
  CAST(NULL AS BIGINT) AS account_count,
  CAST(NULL AS BIGINT) AS request_count,
  CAST(NULL AS DOUBLE) AS exposure_usd
FROM revisions
WHERE
  number = 1
UNION ALL
SELECT
  cluster_id,
  known_at,
  CASE
    WHEN status = 'resolved' AND NOT merged_into IS NULL
    THEN 'joined'
    WHEN status = 'resolved'
    THEN 'resolved'
    WHEN number = 1 OR status_before = 'resolved'
    THEN 'flagged'
    WHEN severity <> before
    THEN 'severity'
    ELSE 'grew'
  END,
  CASE
    WHEN status = 'resolved' AND NOT merged_into IS NULL
    THEN 'to ' || merged_into
    WHEN number > 1 AND status <> 'resolved' AND severity <> before
    THEN 'from ' || before || ' to ' || severity
    ELSE ''
  END,
  revision,
  severity,
  account_count,
  request_count,
  exposure_usd
FROM revisions
UNION ALL
SELECT
  cluster_id,
  decided_at,
  'decision',
  decision || ' by ' || decided_by || CASE WHEN reason IS NULL THEN '' ELSE ': ' || reason END,
  NULL,
  NULL,
  NULL,
  NULL,
  NULL
FROM dispositions
UNION ALL
SELECT
  cluster_id,
  first_seen,
  'sighting',
  'of indicator ' || indicator_id,
  NULL,
  NULL,
  NULL,
  match_count,
  NULL
FROM sightings
WHERE
  NOT cluster_id IS NULL;
COMMENT ON VIEW "cluster_life" IS 'What was found and decided of a cluster, in rows that can be read from top to bottom. Filter by `cluster_id` and order by `moment`, `revision`. A cluster that took this one over is named in `detail`; so are who decided, and why.';
COMMENT ON COLUMN "cluster_life"."cluster_id" IS 'cluster';
COMMENT ON COLUMN "cluster_life"."moment" IS 'event time; the clock''s for decisions [UTC]';
COMMENT ON COLUMN "cluster_life"."happened" IS 'began, flagged, grew, severity, resolved, joined, decision or sighting';
COMMENT ON COLUMN "cluster_life"."detail" IS 'in words';
COMMENT ON COLUMN "cluster_life"."revision" IS 'of the cluster; empty for decisions and sightings [requests]';
COMMENT ON COLUMN "cluster_life"."severity" IS 'then';
COMMENT ON COLUMN "cluster_life"."account_count" IS 'members then [accounts]';
COMMENT ON COLUMN "cluster_life"."request_count" IS 'requests then [requests]';
COMMENT ON COLUMN "cluster_life"."exposure_usd" IS 'list price of what had been taken then [USD]';
