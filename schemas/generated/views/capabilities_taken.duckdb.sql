CREATE OR REPLACE VIEW "capabilities_taken" AS
SELECT
  k.name AS capability,
  c.cluster_id,
  c.window_start,
  c.severity,
  COALESCE(k.taken, FALSE) AS taken,
  k.requests AS request_count,
  k.share,
  k.lift,
  k.covered,
  k.expected,
  COALESCE(c.exposure_usd, 0) * COALESCE(k.share, 0) AS exposure_usd
FROM cluster_windows AS c
CROSS JOIN UNNEST(c.capabilities) AS _t0(k)
WHERE
  NOT c.status IN ('resolved', 'dismissed');
COMMENT ON VIEW "capabilities_taken" IS 'What flagged clusters asked of the model, by cluster and capability; resolved ones are left out. `taken` says that it asked for this clearly more than the history does.';
COMMENT ON COLUMN "capabilities_taken"."capability" IS 'code, mathematics, tool_use, medicine, law …';
COMMENT ON COLUMN "capabilities_taken"."cluster_id" IS 'cluster';
COMMENT ON COLUMN "capabilities_taken"."window_start" IS 'begin of the profile window [UTC]';
COMMENT ON COLUMN "capabilities_taken"."severity" IS 'of the cluster';
COMMENT ON COLUMN "capabilities_taken"."taken" IS 'whether the share is clearly above the history''s';
COMMENT ON COLUMN "capabilities_taken"."request_count" IS 'requests that ask for it [requests]';
COMMENT ON COLUMN "capabilities_taken"."share" IS 'of the cluster''s labelled requests [0 to 1]';
COMMENT ON COLUMN "capabilities_taken"."lift" IS 'the share over the history''s';
COMMENT ON COLUMN "capabilities_taken"."covered" IS 'share of the history''s requests for it that lie where the cluster asked for it [0 to 1]';
COMMENT ON COLUMN "capabilities_taken"."expected" IS 'covered by as many requests of the history [0 to 1]';
COMMENT ON COLUMN "capabilities_taken"."exposure_usd" IS 'the cluster''s, by share [USD]';
