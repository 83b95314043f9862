CREATE OR REPLACE VIEW `${views}.current_alerts` (
  `alert_id` OPTIONS(description="stable name; a cluster that comes back gets another"),
  `revision` OPTIONS(description="steps of its life so far; the largest is current [steps]"),
  `cluster_id` OPTIONS(description="cluster that it is about; of a storm, the storm's own name"),
  `step` OPTIONS(description="opened, raised, updated, acknowledged or resolved"),
  `state` OPTIONS(description="open, acknowledged or resolved"),
  `severity` OPTIONS(description="low, medium, high or critical"),
  `changed_at` OPTIONS(description="when this step was made [UTC]"),
  `policy` OPTIONS(description="policy that made it"),
  `policy_version` OPTIONS(description="digest of the policy, 12 hex digits"),
  `reason` OPTIONS(description="why this step was made"),
  `cluster_revision` OPTIONS(description="revision of the cluster that was looked at [requests]"),
  `window_start` OPTIONS(description="window of the cluster that was looked at [UTC]"),
  `event_time` OPTIONS(description="last request of the cluster that was looked at [UTC]"),
  `opened_at` OPTIONS(description="when it was opened [UTC]"),
  `account_count` OPTIONS(description="accounts of the cluster [accounts]"),
  `request_count` OPTIONS(description="requests of the cluster [requests]"),
  `exposure_usd` OPTIONS(description="list price of what was taken [USD]"),
  `p_value` OPTIONS(description="of the cluster [probability]"),
  `q_value` OPTIONS(description="of the cluster [share]"),
  `storm_id` OPTIONS(description="alert of the storm that it was told in, not by itself"),
  `disposition_id` OPTIONS(description="decision that made this step"),
  `channels` OPTIONS(description="where this step was told; none where nobody was"),
  `namespace` OPTIONS(description="drill for a drill; empty for the real thing"),
  `run_id` OPTIONS(description="run that wrote the row"),
  `bundle_version` OPTIONS(description="bundle that scored the cluster")
)
OPTIONS(description="The newest revision of every alert.")
AS
SELECT
  *
FROM `${dataset}.alerts`
WHERE
  TRUE
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY alert_id ORDER BY revision DESC) = 1
