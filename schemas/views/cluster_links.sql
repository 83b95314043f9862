-- What the members of each cluster share, one kind a row, of its newest revision.
--
-- cluster_id: cluster
-- kind: what is shared: payment, network, client, prefix_scaffold …
-- shared: different things of this kind that members share [things]
-- accounts: members that share one of them [accounts]
-- account_count: all members [accounts]
-- share: members that share one of them, of all [0 to 1]
SELECT
  c.cluster_id, l.kind, l.shared, l.accounts, c.account_count,
  SAFE_DIVIDE(l.accounts, c.account_count) AS share
FROM current_clusters AS c, UNNEST(c.links) AS l
