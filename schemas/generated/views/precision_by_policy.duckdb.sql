CREATE OR REPLACE VIEW "precision_by_policy" AS
WITH policies AS (
  SELECT
    cluster_id,
    policy
  FROM current_alerts
  WHERE
    NOT policy IS NULL AND COALESCE(namespace, '') <> 'drill'
  QUALIFY
    ROW_NUMBER() OVER (PARTITION BY cluster_id ORDER BY changed_at DESC, alert_id NULLS FIRST) = 1
), flagged AS (
  SELECT
    c.cluster_id,
    COALESCE(p.policy, 'none') AS policy,
    COALESCE(c.bundle_version, '') AS bundle_version,
    c.severity,
    v.decision
  FROM current_clusters AS c
  LEFT JOIN current_verdicts AS v
    ON v.cluster_id = c.cluster_id
  LEFT JOIN policies AS p
    ON p.cluster_id = c.cluster_id
  WHERE
    c.status <> 'resolved' OR NOT v.decision IS NULL
), sums AS (
  SELECT
    policy,
    bundle_version,
    severity,
    COUNT(*) AS flagged,
    CAST(SUM(CASE WHEN decision = 'confirm' THEN 1 ELSE 0 END) AS BIGINT) AS confirmed,
    CAST(SUM(CASE WHEN decision = 'dismiss' THEN 1 ELSE 0 END) AS BIGINT) AS dismissed,
    CAST(SUM(CASE WHEN decision = 'permitted' THEN 1 ELSE 0 END) AS BIGINT) AS permitted,
    CAST(SUM(CASE WHEN decision = 'watch' THEN 1 ELSE 0 END) AS BIGINT) AS watched,
    CAST(SUM(CASE WHEN decision IS NULL THEN 1 ELSE 0 END) AS BIGINT) AS undecided
  FROM flagged
  GROUP BY
    policy,
    bundle_version,
    severity
), rates AS (
  SELECT
    *,
    confirmed + dismissed + permitted AS judged,
    CASE
      WHEN (
        confirmed + dismissed + permitted
      ) <> 0
      THEN confirmed / (
        confirmed + dismissed + permitted
      )
      ELSE NULL
    END AS rate
  FROM sums
)
SELECT
  policy,
  bundle_version,
  severity,
  flagged,
  confirmed,
  dismissed,
  permitted,
  watched,
  undecided,
  rate AS precision_rate,
  CASE
    WHEN judged = 0
    THEN NULL
    ELSE CASE
      WHEN 0.0 IS NULL
      OR CASE
        WHEN (
          1 + 3.8416 / judged
        ) <> 0
        THEN (
          rate + 1.9208 / judged - 1.96 * SQRT((
            rate * (
              1 - rate
            ) + 0.9604 / judged
          ) / judged)
        ) / (
          1 + 3.8416 / judged
        )
        ELSE NULL
      END IS NULL
      THEN NULL
      ELSE GREATEST(
        0.0,
        CASE
          WHEN (
            1 + 3.8416 / judged
          ) <> 0
          THEN (
            rate + 1.9208 / judged - 1.96 * SQRT((
              rate * (
                1 - rate
              ) + 0.9604 / judged
            ) / judged)
          ) / (
            1 + 3.8416 / judged
          )
          ELSE NULL
        END
      )
    END
  END AS precision_low,
  CASE
    WHEN judged = 0
    THEN NULL
    ELSE CASE
      WHEN 1.0 IS NULL
      OR CASE
        WHEN (
          1 + 3.8416 / judged
        ) <> 0
        THEN (
          rate + 1.9208 / judged + 1.96 * SQRT((
            rate * (
              1 - rate
            ) + 0.9604 / judged
          ) / judged)
        ) / (
          1 + 3.8416 / judged
        )
        ELSE NULL
      END IS NULL
      THEN NULL
      ELSE LEAST(
        1.0,
        CASE
          WHEN (
            1 + 3.8416 / judged
          ) <> 0
          THEN (
            rate + 1.9208 / judged + 1.96 * SQRT((
              rate * (
                1 - rate
              ) + 0.9604 / judged
            ) / judged)
          ) / (
            1 + 3.8416 / judged
          )
          ELSE NULL
        END
      )
    END
  END AS precision_high
FROM rates;
COMMENT ON VIEW "precision_by_policy" IS 'What staff said of the alerts of each policy, bundle and severity. Of several decisions on a cluster the latest counts that was not taken back; drills are left out. `precision_low` and `precision_high` are the ends of Wilson''s interval of 95 %.';
COMMENT ON COLUMN "precision_by_policy"."policy" IS 'that made the newest alert of the cluster; none where there was no alert';
COMMENT ON COLUMN "precision_by_policy"."bundle_version" IS 'bundle that scored the cluster';
COMMENT ON COLUMN "precision_by_policy"."severity" IS 'of the cluster; the policy may have told it as another';
COMMENT ON COLUMN "precision_by_policy"."flagged" IS 'clusters [clusters]';
COMMENT ON COLUMN "precision_by_policy"."confirmed" IS 'decided to be distillation [clusters]';
COMMENT ON COLUMN "precision_by_policy"."dismissed" IS 'decided not to be [clusters]';
COMMENT ON COLUMN "precision_by_policy"."permitted" IS 'distillation that is allowed [clusters]';
COMMENT ON COLUMN "precision_by_policy"."watched" IS 'put under watch, so without a verdict [clusters]';
COMMENT ON COLUMN "precision_by_policy"."undecided" IS 'nobody decided [clusters]';
COMMENT ON COLUMN "precision_by_policy"."precision_rate" IS 'confirmed among confirmed, dismissed and permitted; empty without any [0 to 1]';
COMMENT ON COLUMN "precision_by_policy"."precision_low" IS 'lower end of its interval [0 to 1]';
COMMENT ON COLUMN "precision_by_policy"."precision_high" IS 'upper end of its interval [0 to 1]';
