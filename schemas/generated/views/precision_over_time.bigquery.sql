WITH opened AS (
  SELECT
    CAST(DATE_SUB(DATE(a.changed_at), INTERVAL (MOD(DATE_DIFF(DATE(a.changed_at), CAST('1970-01-05' AS DATE), DAY), 7)) DAY) AS DATE) AS week, /* 1970-01-05 was a Monday. */
    a.policy,
    v.decision
  FROM `${dataset}.alerts` AS a
  LEFT JOIN `${views}.current_verdicts` AS v
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
    CAST(SUM(IF(decision = 'confirm', 1, 0)) AS INT64) AS confirmed,
    CAST(SUM(IF(decision = 'dismiss', 1, 0)) AS INT64) AS dismissed,
    CAST(SUM(IF(decision = 'permitted', 1, 0)) AS INT64) AS permitted,
    CAST(SUM(IF(decision = 'watch', 1, 0)) AS INT64) AS watched,
    CAST(SUM(IF(decision IS NULL, 1, 0)) AS INT64) AS undecided
  FROM opened
  GROUP BY
    week,
    policy
), rates AS (
  SELECT
    *,
    confirmed + dismissed + permitted AS judged,
    SAFE_DIVIDE(confirmed, confirmed + dismissed + permitted) AS rate
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
  IF(
    judged = 0,
    NULL,
    GREATEST(
      0.0,
      SAFE_DIVIDE(
        rate + 1.9208 / judged - 1.96 * SQRT((
          rate * (
            1 - rate
          ) + 0.9604 / judged
        ) / judged),
        1 + 3.8416 / judged
      )
    )
  ) AS precision_low,
  IF(
    judged = 0,
    NULL,
    LEAST(
      1.0,
      SAFE_DIVIDE(
        rate + 1.9208 / judged + 1.96 * SQRT((
          rate * (
            1 - rate
          ) + 0.9604 / judged
        ) / judged),
        1 + 3.8416 / judged
      )
    )
  ) AS precision_high
FROM rates
