SELECT
  *
FROM `${dataset}.flagged_clusters`
WHERE
  TRUE
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY cluster_id, window_start ORDER BY revision DESC) = 1
