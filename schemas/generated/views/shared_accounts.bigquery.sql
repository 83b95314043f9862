WITH members AS (
  SELECT
    cluster_id,
    account_id,
    MIN(since) AS since
  FROM `${dataset}.cluster_members`
  GROUP BY
    cluster_id,
    account_id
), sizes AS (
  SELECT
    cluster_id,
    COUNT(*) AS account_count,
    MIN(since) AS since
  FROM members
  GROUP BY
    cluster_id
), pairs AS (
  SELECT
    a.cluster_id,
    b.cluster_id AS other_cluster_id,
    COUNT(*) AS shared_count,
    STRING_AGG(a.account_id, ', '
    ORDER BY
      a.account_id) AS account_ids
  FROM members AS a
  JOIN members AS b
    ON b.account_id = a.account_id
  JOIN sizes AS x
    ON x.cluster_id = a.cluster_id
  JOIN sizes AS y
    ON y.cluster_id = b.cluster_id
  WHERE
    x.since < y.since OR (
      x.since = y.since AND x.cluster_id < y.cluster_id
    )
  GROUP BY
    a.cluster_id,
    b.cluster_id
)
SELECT
  p.cluster_id,
  p.other_cluster_id,
  p.shared_count,
  x.account_count,
  y.account_count AS other_account_count,
  p.shared_count / LEAST(x.account_count, y.account_count) AS shared_share,
  p.account_ids
FROM pairs AS p
JOIN sizes AS x
  ON x.cluster_id = p.cluster_id
JOIN sizes AS y
  ON y.cluster_id = p.other_cluster_id
