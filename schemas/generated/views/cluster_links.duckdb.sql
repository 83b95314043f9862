CREATE OR REPLACE VIEW "cluster_links" AS
SELECT
  c.cluster_id,
  l.kind,
  l.shared,
  l.accounts,
  c.account_count,
  CASE WHEN c.account_count <> 0 THEN l.accounts / c.account_count ELSE NULL END AS share
FROM current_clusters AS c
CROSS JOIN UNNEST(c.links) AS _t0(l);
COMMENT ON VIEW "cluster_links" IS 'What the members of each cluster share, one kind a row, of its newest revision.';
COMMENT ON COLUMN "cluster_links"."cluster_id" IS 'cluster';
COMMENT ON COLUMN "cluster_links"."kind" IS 'what is shared: payment, network, client, prefix_scaffold …';
COMMENT ON COLUMN "cluster_links"."shared" IS 'different things of this kind that members share [things]';
COMMENT ON COLUMN "cluster_links"."accounts" IS 'members that share one of them [accounts]';
COMMENT ON COLUMN "cluster_links"."account_count" IS 'all members [accounts]';
COMMENT ON COLUMN "cluster_links"."share" IS 'members that share one of them, of all [0 to 1]';
