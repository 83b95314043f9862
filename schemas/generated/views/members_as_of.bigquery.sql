WITH past AS (
  SELECT
    cluster_id,
    revision,
    window_start,
    status
  FROM `${dataset}.flagged_clusters`
  WHERE
    COALESCE(first_alert, last_seen) <= moment
  QUALIFY
    ROW_NUMBER() OVER (PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1
)
SELECT
  m.*
FROM `${dataset}.cluster_members` AS m
JOIN past AS t
  ON t.cluster_id = m.cluster_id
  AND t.revision = m.revision
  AND (
    m.window_start IS NULL OR m.window_start = t.window_start
  )
WHERE
  NOT t.status IN ('resolved', 'dismissed')
