CREATE OR REPLACE VIEW `${views}.feature_drift` (
  `day` OPTIONS(description="day, UTC, of the first request"),
  `level` OPTIONS(description="session_account, session_payment or profile"),
  `peer_group` OPTIONS(description="tier|segment#kind of use"),
  `feature` OPTIONS(description="feature"),
  `bundle_version` OPTIONS(description="bundle that knows what is normal"),
  `row_count` OPTIONS(description="sessions or profiles [rows]"),
  `mean_value` OPTIONS(description="mean as measured; the unit is the feature's own"),
  `mean_z` OPTIONS(description="mean distance from the peers' median, each cut at 10 [robust standard deviations]"),
  `outside_share` OPTIONS(description="rows outside of normal [0 to 1]")
)
OPTIONS(description="How far the features of each peer group lie from what its bundle calls normal, by day. Normal is the middle two thirds of the peers in the history, so `outside_share` is a third, and `mean_z` near 0, while nothing drifts.")
AS
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
