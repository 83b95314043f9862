-- What staff said of the alerts of each policy, bundle and severity.
--
-- Of several decisions on a cluster the latest counts that was not taken back; drills are left out. `precision_low` and `precision_high` are the
-- ends of Wilson's interval of 95 %.
--
-- policy: that made the newest alert of the cluster; none where there was no alert
-- bundle_version: bundle that scored the cluster
-- severity: of the cluster; the policy may have told it as another
-- flagged: clusters [clusters]
-- confirmed: decided to be distillation [clusters]
-- dismissed: decided not to be [clusters]
-- permitted: distillation that is allowed [clusters]
-- watched: put under watch, so without a verdict [clusters]
-- undecided: nobody decided [clusters]
-- precision_rate: confirmed among confirmed, dismissed and permitted; empty without any [0 to 1]
-- precision_low: lower end of its interval [0 to 1]
-- precision_high: upper end of its interval [0 to 1]
WITH policies AS (
  SELECT cluster_id, policy FROM current_alerts
  WHERE policy IS NOT NULL AND COALESCE(namespace, '') <> 'drill'
  QUALIFY ROW_NUMBER() OVER (PARTITION BY cluster_id ORDER BY changed_at DESC, alert_id) = 1
),
flagged AS (
  SELECT
    c.cluster_id,
    COALESCE(p.policy, 'none') AS policy,
    COALESCE(c.bundle_version, '') AS bundle_version,
    c.severity,
    v.decision
  FROM current_clusters AS c
  LEFT JOIN current_verdicts AS v ON v.cluster_id = c.cluster_id
  LEFT JOIN policies AS p ON p.cluster_id = c.cluster_id
  WHERE c.status <> 'resolved' OR v.decision IS NOT NULL
),
sums AS (
  SELECT
    policy, bundle_version, severity,
    COUNT(*) AS flagged,
    CAST(SUM(IF(decision = 'confirm', 1, 0)) AS INT64) AS confirmed,
    CAST(SUM(IF(decision = 'dismiss', 1, 0)) AS INT64) AS dismissed,
    CAST(SUM(IF(decision = 'permitted', 1, 0)) AS INT64) AS permitted,
    CAST(SUM(IF(decision = 'watch', 1, 0)) AS INT64) AS watched,
    CAST(SUM(IF(decision IS NULL, 1, 0)) AS INT64) AS undecided
  FROM flagged
  GROUP BY policy, bundle_version, severity
),
rates AS (
  SELECT
    *,
    confirmed + dismissed + permitted AS judged,
    SAFE_DIVIDE(confirmed, confirmed + dismissed + permitted) AS rate
  FROM sums
)
SELECT
  policy, bundle_version, severity,
  flagged, confirmed, dismissed, permitted, watched, undecided,
  rate AS precision_rate,
  IF(judged = 0, NULL, GREATEST(0.0, SAFE_DIVIDE(
    rate + 1.9208 / judged
      - 1.96 * SQRT((rate * (1 - rate) + 0.9604 / judged) / judged),
    1 + 3.8416 / judged))) AS precision_low,
  IF(judged = 0, NULL, LEAST(1.0, SAFE_DIVIDE(
    rate + 1.9208 / judged
      + 1.96 * SQRT((rate * (1 - rate) + 0.9604 / judged) / judged),
    1 + 3.8416 / judged))) AS precision_high
FROM rates
