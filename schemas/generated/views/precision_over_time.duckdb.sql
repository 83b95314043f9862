CREATE OR REPLACE VIEW "precision_over_time" AS
WITH opened AS (
  SELECT
    CAST(CAST((
      a.changed_at AT TIME ZONE 'UTC'
    ) AS DATE) - INTERVAL (DATE_DIFF(
      'DAY',
      CAST('1970-01-05' AS DATE),
      CAST((
        a.changed_at AT TIME ZONE 'UTC'
      ) AS DATE)
    ) % 7) DAY AS DATE) AS week, /* 1970-01-05 was a Monday. */
    a.policy,
    v.decision
  FROM alerts AS a
  LEFT JOIN current_verdicts AS v
    ON v.cluster_id = a.cluster_id
  WHERE
    a.step = 'opened'
    AND NOT a.policy IS NULL
    AND COALESCE(a.storm_id, '') <> a.alert_id
    AND COALESCE(a.namespace, '') <> 'drill'
), sums AS (
  SELECT
    week,
    policy,
    COUNT(*) AS alerts,
    CAST(SUM(CASE WHEN decision = 'confirm' THEN 1 ELSE 0 END) AS BIGINT) AS confirmed,
    CAST(SUM(CASE WHEN decision = 'dismiss' THEN 1 ELSE 0 END) AS BIGINT) AS dismissed,
    CAST(SUM(CASE WHEN decision = 'permitted' THEN 1 ELSE 0 END) AS BIGINT) AS permitted,
    CAST(SUM(CASE WHEN decision = 'watch' THEN 1 ELSE 0 END) AS BIGINT) AS watched,
    CAST(SUM(CASE WHEN decision IS NULL THEN 1 ELSE 0 END) AS BIGINT) AS undecided
  FROM opened
  GROUP BY
    week,
    policy
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
  week,
  policy,
  alerts,
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
COMMENT ON VIEW "precision_over_time" IS 'How right the alerts of each policy were, week by week. An alert counts in the week in which it was opened, with the latest decision on its cluster that was not taken back; storms and drills are left out. `precision_low` and `precision_high` are the ends of Wilson''s interval of 95 %.';
COMMENT ON COLUMN "precision_over_time"."week" IS 'Monday, UTC, of the week in which the alerts were opened';
COMMENT ON COLUMN "precision_over_time"."policy" IS 'that made them';
COMMENT ON COLUMN "precision_over_time"."alerts" IS 'that were opened [alerts]';
COMMENT ON COLUMN "precision_over_time"."confirmed" IS 'decided to be distillation [alerts]';
COMMENT ON COLUMN "precision_over_time"."dismissed" IS 'decided not to be [alerts]';
COMMENT ON COLUMN "precision_over_time"."permitted" IS 'distillation that is allowed [alerts]';
COMMENT ON COLUMN "precision_over_time"."watched" IS 'put under watch, so without a verdict [alerts]';
COMMENT ON COLUMN "precision_over_time"."undecided" IS 'nobody decided [alerts]';
COMMENT ON COLUMN "precision_over_time"."precision_rate" IS 'confirmed among confirmed, dismissed and permitted; empty without any [0 to 1]';
COMMENT ON COLUMN "precision_over_time"."precision_low" IS 'lower end of its interval [0 to 1]';
COMMENT ON COLUMN "precision_over_time"."precision_high" IS 'upper end of its interval [0 to 1]';
