CREATE OR REPLACE VIEW `${views}.cluster_links` (
  `cluster_id` OPTIONS(description="cluster"),
  `kind` OPTIONS(description="what is shared: payment, network, client, prefix_scaffold …"),
  `shared` OPTIONS(description="different things of this kind that members share [things]"),
  `accounts` OPTIONS(description="members that share one of them [accounts]"),
  `account_count` OPTIONS(description="all members [accounts]"),
  `share` OPTIONS(description="members that share one of them, of all [0 to 1]")
)
OPTIONS(description="What the members of each cluster share, one kind a row, of its newest revision.")
AS
SELECT
  c.cluster_id,
  l.kind,
  l.shared,
  l.accounts,
  c.account_count,
  SAFE_DIVIDE(l.accounts, c.account_count) AS share
FROM `${views}.current_clusters` AS c
CROSS JOIN UNNEST(c.links) AS l
