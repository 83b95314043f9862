WITH taken AS (
  SELECT
    m.account_id,
    m.since,
    m.p_value,
    m.request_count,
    c.cluster_id,
    c.window_start,
    c.revision,
    COALESCE(c.exposure_usd, 0) * COALESCE(SAFE_DIVIDE(m.request_count, c.request_count), 0) AS exposure_usd,
    CASE c.severity
      WHEN 'critical'
      THEN 4
      WHEN 'high'
      THEN 3
      WHEN 'medium'
      THEN 2
      ELSE 1
    END AS gravity
  FROM `${views}.cluster_windows` AS c
  JOIN `${dataset}.cluster_members` AS m
    ON m.cluster_id = c.cluster_id AND m.revision = c.revision
  WHERE
    NOT c.status IN ('resolved', 'dismissed')
    AND NOT c.cluster_id IN (
      SELECT
        cluster_id
      FROM `${views}.current_verdicts`
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
    ROW_NUMBER() OVER (PARTITION BY account_id ORDER BY window_start DESC, revision DESC, cluster_id) = 1
), sums AS (
  SELECT
    account_id,
    SUM(exposure_usd) AS exposure_usd,
    CAST(COALESCE(SUM(request_count), 0) AS INT64) AS request_count,
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
  ON l.account_id = s.account_id
