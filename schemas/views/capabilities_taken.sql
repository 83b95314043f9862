-- What flagged clusters asked of the model, by cluster and capability; resolved ones are left out.
--
-- `taken` says that it asked for this clearly more than the history does.
--
-- capability: code, mathematics, tool_use, medicine, law …
-- cluster_id: cluster
-- window_start: begin of the profile window [UTC]
-- severity: of the cluster
-- taken: whether the share is clearly above the history's
-- request_count: requests that ask for it [requests]
-- share: of the cluster's labelled requests [0 to 1]
-- lift: the share over the history's
-- covered: share of the history's requests for it that lie where the cluster asked for it [0 to 1]
-- expected: covered by as many requests of the history [0 to 1]
-- exposure_usd: the cluster's, by share [USD]
SELECT
  k.name AS capability,
  c.cluster_id, c.window_start, c.severity,
  COALESCE(k.taken, FALSE) AS taken,
  k.requests AS request_count,
  k.share, k.lift, k.covered, k.expected,
  COALESCE(c.exposure_usd, 0) * COALESCE(k.share, 0) AS exposure_usd
FROM cluster_windows AS c, UNNEST(c.capabilities) AS k
WHERE c.status NOT IN ('resolved', 'dismissed')
