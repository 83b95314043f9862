WITH decisions AS (
  SELECT
    cluster_id,
    decision,
    decided_at
  FROM `${dataset}.dispositions`
  WHERE
    TRUE
  QUALIFY
    ROW_NUMBER() OVER (
      PARTITION BY COALESCE(disposition_id, CONCAT(cluster_id, '/', CAST(UNIX_MILLIS(decided_at) AS STRING)))
      ORDER BY COALESCE(revision, 1) DESC
    ) = 1
)
SELECT
  cluster_id,
  decision,
  decided_at
FROM decisions
WHERE
  decision IN ('confirm', 'dismiss', 'permitted', 'watch')
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY cluster_id ORDER BY decided_at DESC) = 1
