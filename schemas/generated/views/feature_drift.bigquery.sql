SELECT
  DATE(s.session_start) AS day,
  s.level,
  COALESCE(s.peer_group, '') AS peer_group,
  f.name AS feature,
  COALESCE(s.bundle_version, '') AS bundle_version,
  COUNT(*) AS row_count,
  AVG(f.value) AS mean_value,
  AVG(LEAST(GREATEST(f.z, -10.0), 10.0)) AS mean_z,
  AVG(IF(f.value < f.normal_low OR f.value > f.normal_high, 1.0, 0.0)) AS outside_share
FROM `${views}.current_sessions` AS s
CROSS JOIN UNNEST(s.features) AS f
GROUP BY
  day,
  level,
  peer_group,
  feature,
  bundle_version
