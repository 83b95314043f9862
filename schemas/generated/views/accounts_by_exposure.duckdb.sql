CREATE OR REPLACE VIEW "accounts_by_exposure" AS
WITH taken AS (
  SELECT
    m.account_id,
    m.since,
    m.p_value,
    m.request_count,
    c.cluster_id,
    c.window_start,
    c.revision,
    COALESCE(c.exposure_usd, 0) * COALESCE(
      CASE WHEN c.request_count <> 0 THEN m.request_count / c.request_count ELSE NULL END,
      0
    ) AS exposure_usd,
    CASE c.severity
      WHEN 'critical'
      THEN 4
      WHEN 'high'
      THEN 3
      WHEN 'medium'
      THEN 2
      ELSE 1
    END AS gravity
  FROM cluster_windows AS c
  JOIN cluster_members AS m
    ON m.cluster_id = c.cluster_id AND m.revision = c.revision
  WHERE
    NOT c.status IN ('resolved', 'dismissed')
    AND NOT c.cluster_id IN (
      SELECT
        cluster_id
      FROM current_verdicts
      WHERE
        decision IN ('dismiss', 'permitted')
    )
    AND (
      m.window_start IS NULL OR m.window_start = c.window_start
    )
), latest AS (
  SELECT
    account_id,
    cluster_id
  FROM taken
  WHERE
    TRUE
  QUALIFY
    ROW_NUMBER() OVER (
      PARTITION BY account_id
      ORDER BY window_start DESC, revision DESC, cluster_id NULLS FIRST
    ) = 1
), sums AS (
  SELECT
    account_id,
    SUM(exposure_usd) AS exposure_usd,
    CAST(COALESCE(SUM(request_count), 0) AS BIGINT) AS request_count,
    COUNT(DISTINCT cluster_id) AS cluster_count,
    MAX(gravity) AS gravity,
    MIN(p_value) AS p_value,
    MIN(since) AS since
  FROM taken
  GROUP BY
    account_id
)
SELECT
  s.account_id,
  s.exposure_usd,
  s.request_count,
  s.cluster_count,
  l.cluster_id AS latest_cluster_id,
  CASE s.gravity
    WHEN 4
    THEN 'critical'
    WHEN 3
    THEN 'high'
    WHEN 2
    THEN 'medium'
    ELSE 'low'
  END AS severity,
  s.p_value,
  s.since
FROM sums AS s
JOIN latest AS l
  ON l.account_id = s.account_id;
COMMENT ON VIEW "accounts_by_exposure" IS 'Accounts of clusters that are flagged, not resolved, and that nobody has dismissed or permitted, with what each took. A cluster''s exposure is divided among its members by their requests; windows are added up.';
COMMENT ON COLUMN "accounts_by_exposure"."account_id" IS 'account';
COMMENT ON COLUMN "accounts_by_exposure"."exposure_usd" IS 'its part of the list price of what was taken [USD]';
COMMENT ON COLUMN "accounts_by_exposure"."request_count" IS 'its requests in flagged clusters [requests]';
COMMENT ON COLUMN "accounts_by_exposure"."cluster_count" IS 'clusters that it is or was in [clusters]';
COMMENT ON COLUMN "accounts_by_exposure"."latest_cluster_id" IS 'the one of its newest window';
COMMENT ON COLUMN "accounts_by_exposure"."severity" IS 'the gravest of them';
COMMENT ON COLUMN "accounts_by_exposure"."p_value" IS 'its own smallest p-value [probability]';
COMMENT ON COLUMN "accounts_by_exposure"."since" IS 'its first request in any of them [UTC]';
