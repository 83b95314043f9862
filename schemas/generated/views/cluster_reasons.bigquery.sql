SELECT
  c.cluster_id,
  c.severity,
  r.feature,
  r.value,
  r.normal_low,
  r.normal_high,
  r.z,
  r.contribution,
  r.words
FROM `${views}.current_clusters` AS c
CROSS JOIN UNNEST(c.reasons) AS r
