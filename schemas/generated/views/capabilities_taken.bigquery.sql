CREATE OR REPLACE VIEW `${views}.capabilities_taken` (
  `capability` OPTIONS(description="code, mathematics, tool_use, medicine, law …"),
  `cluster_id` OPTIONS(description="cluster"),
  `window_start` OPTIONS(description="begin of the profile window [UTC]"),
  `severity` OPTIONS(description="of the cluster"),
  `taken` OPTIONS(description="whether the share is clearly above the history's"),
  `request_count` OPTIONS(description="requests that ask for it [requests]"),
  `share` OPTIONS(description="of the cluster's labelled requests [0 to 1]"),
  `lift` OPTIONS(description="the share over the history's"),
  `covered` OPTIONS(description="share of the history's requests for it that lie where the cluster asked for it [0 to 1]"),
  `expected` OPTIONS(description="covered by as many requests of the history [0 to 1]"),
  `exposure_usd` OPTIONS(description="the cluster's, by share [USD]")
)
OPTIONS(description="What flagged clusters asked of the model, by cluster and capability; resolved ones are left out. `taken` says that it asked for this clearly more than the history does.")
AS
SELECT
  k.name AS capability,
  c.cluster_id,
  c.window_start,
  c.severity,
  COALESCE(k.taken, FALSE) AS taken,
  k.requests AS request_count,
  k.share,
  k.lift,
  k.covered,
  k.expected,
  COALESCE(c.exposure_usd, 0) * COALESCE(k.share, 0) AS exposure_usd
FROM `${views}.cluster_windows` AS c
CROSS JOIN UNNEST(c.capabilities) AS k
WHERE
  NOT c.status IN ('resolved', 'dismissed')
