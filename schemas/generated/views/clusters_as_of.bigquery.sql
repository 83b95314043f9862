SELECT
  *
FROM `${dataset}.flagged_clusters`
WHERE
  COALESCE(first_alert, last_seen) <= moment
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1
