CREATE OR REPLACE VIEW "feature_drift" AS
SELECT
  CAST((
    s.session_start AT TIME ZONE 'UTC'
  ) AS DATE) AS day,
  s.level,
  COALESCE(s.peer_group, '') AS peer_group,
  f.name AS feature,
  COALESCE(s.bundle_version, '') AS bundle_version,
  COUNT(*) AS row_count,
  AVG(f.value) AS mean_value,
  AVG(
    CASE
      WHEN CASE WHEN f.z IS NULL OR -10.0 IS NULL THEN NULL ELSE GREATEST(f.z, -10.0) END IS NULL
      OR 10.0 IS NULL
      THEN NULL
      ELSE LEAST(
        CASE WHEN f.z IS NULL OR -10.0 IS NULL THEN NULL ELSE GREATEST(f.z, -10.0) END,
        10.0
      )
    END
  ) AS mean_z,
  AVG(
    CASE WHEN f.value < f.normal_low OR f.value > f.normal_high THEN 1.0 ELSE 0.0 END
  ) AS outside_share
FROM current_sessions AS s
CROSS JOIN UNNEST(s.features) AS _t0(f)
GROUP BY
  day,
  level,
  peer_group,
  feature,
  bundle_version;
COMMENT ON VIEW "feature_drift" IS 'How far the features of each peer group lie from what its bundle calls normal, by day. Normal is the middle two thirds of the peers in the history, so `outside_share` is a third, and `mean_z` near 0, while nothing drifts.';
COMMENT ON COLUMN "feature_drift"."day" IS 'day, UTC, of the first request';
COMMENT ON COLUMN "feature_drift"."level" IS 'session_account, session_payment or profile';
COMMENT ON COLUMN "feature_drift"."peer_group" IS 'tier|segment#kind of use';
COMMENT ON COLUMN "feature_drift"."feature" IS 'feature';
COMMENT ON COLUMN "feature_drift"."bundle_version" IS 'bundle that knows what is normal';
COMMENT ON COLUMN "feature_drift"."row_count" IS 'sessions or profiles [rows]';
COMMENT ON COLUMN "feature_drift"."mean_value" IS 'mean as measured; the unit is the feature''s own';
COMMENT ON COLUMN "feature_drift"."mean_z" IS 'mean distance from the peers'' median, each cut at 10 [robust standard deviations]';
COMMENT ON COLUMN "feature_drift"."outside_share" IS 'rows outside of normal [0 to 1]';
