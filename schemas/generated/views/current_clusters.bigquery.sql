SELECT
  *
FROM `${dataset}.flagged_clusters`
WHERE
  TRUE
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1
