SELECT
  c.cluster_id,
  l.kind,
  l.shared,
  l.accounts,
  c.account_count,
  SAFE_DIVIDE(l.accounts, c.account_count) AS share
FROM `${views}.current_clusters` AS c
CROSS JOIN UNNEST(c.links) AS l
