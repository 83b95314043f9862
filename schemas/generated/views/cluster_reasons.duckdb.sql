CREATE OR REPLACE VIEW "cluster_reasons" AS
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
FROM current_clusters AS c
CROSS JOIN UNNEST(c.reasons) AS _t0(r);
COMMENT ON VIEW "cluster_reasons" IS 'Why each cluster is flagged, one reason a row, of its newest revision.';
COMMENT ON COLUMN "cluster_reasons"."cluster_id" IS 'cluster';
COMMENT ON COLUMN "cluster_reasons"."severity" IS 'of the cluster';
COMMENT ON COLUMN "cluster_reasons"."feature" IS 'feature';
COMMENT ON COLUMN "cluster_reasons"."value" IS 'as measured; the unit is the feature''s own';
COMMENT ON COLUMN "cluster_reasons"."normal_low" IS 'lower end of what is normal';
COMMENT ON COLUMN "cluster_reasons"."normal_high" IS 'upper end of what is normal';
COMMENT ON COLUMN "cluster_reasons"."z" IS 'distance from normal [robust standard deviations]';
COMMENT ON COLUMN "cluster_reasons"."contribution" IS 'fall of the score if this alone were normal';
COMMENT ON COLUMN "cluster_reasons"."words" IS 'the reason in words';
