WITH policies AS (
  SELECT
    cluster_id,
    policy
  FROM `${views}.current_alerts`
  WHERE
    NOT policy IS NULL AND COALESCE(namespace, '') <> 'drill'
  QUALIFY
    ROW_NUMBER() OVER (PARTITION BY cluster_id ORDER BY changed_at DESC, alert_id) = 1
), flagged AS (
  SELECT
    c.cluster_id,
    COALESCE(p.policy, 'none') AS policy,
    COALESCE(c.bundle_version, '') AS bundle_version,
    c.severity,
    v.decision
  FROM `${views}.current_clusters` AS c
  LEFT JOIN `${views}.current_verdicts` AS v
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
    CAST(SUM(IF(decision = 'confirm', 1, 0)) AS INT64) AS confirmed,
    CAST(SUM(IF(decision = 'dismiss', 1, 0)) AS INT64) AS dismissed,
    CAST(SUM(IF(decision = 'permitted', 1, 0)) AS INT64) AS permitted,
    CAST(SUM(IF(decision = 'watch', 1, 0)) AS INT64) AS watched,
    CAST(SUM(IF(decision IS NULL, 1, 0)) AS INT64) AS undecided
  FROM flagged
  GROUP BY
    policy,
    bundle_version,
    severity
), rates AS (
  SELECT
    *,
    confirmed + dismissed + permitted AS judged,
    SAFE_DIVIDE(confirmed, confirmed + dismissed + permitted) AS rate
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
