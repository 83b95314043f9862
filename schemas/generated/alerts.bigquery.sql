CREATE TABLE IF NOT EXISTS `DATASET.alerts` (
  `alert_id` STRING NOT NULL OPTIONS(description="stable name; a cluster that comes back gets another"),
  `revision` INT64 NOT NULL OPTIONS(description="steps of its life so far; the largest is current [steps]"),
  `cluster_id` STRING NOT NULL OPTIONS(description="cluster that it is about; of a storm, the storm's own name"),
  `step` STRING NOT NULL OPTIONS(description="opened, raised, updated, acknowledged or resolved"),
  `state` STRING NOT NULL OPTIONS(description="open, acknowledged or resolved"),
  `severity` STRING NOT NULL OPTIONS(description="low, medium, high or critical"),
  `changed_at` TIMESTAMP NOT NULL OPTIONS(description="when this step was made [UTC]"),
  `policy` STRING OPTIONS(description="policy that made it"),
  `policy_version` STRING OPTIONS(description="digest of the policy, 12 hex digits"),
  `reason` STRING OPTIONS(description="why this step was made"),
  `cluster_revision` INT64 OPTIONS(description="revision of the cluster that was looked at [requests]"),
  `window_start` TIMESTAMP OPTIONS(description="window of the cluster that was looked at [UTC]"),
  `event_time` TIMESTAMP OPTIONS(description="last request of the cluster that was looked at [UTC]"),
  `opened_at` TIMESTAMP OPTIONS(description="when it was opened [UTC]"),
  `account_count` INT64 OPTIONS(description="accounts of the cluster [accounts]"),
  `request_count` INT64 OPTIONS(description="requests of the cluster [requests]"),
  `exposure_usd` FLOAT64 OPTIONS(description="list price of what was taken [USD]"),
  `p_value` FLOAT64 OPTIONS(description="of the cluster [probability]"),
  `q_value` FLOAT64 OPTIONS(description="of the cluster [share]"),
  `storm_id` STRING OPTIONS(description="alert of the storm that it was told in, not by itself"),
  `disposition_id` STRING OPTIONS(description="decision that made this step"),
  `channels` ARRAY<STRING> OPTIONS(description="where this step was told; none where nobody was"),
  `namespace` STRING OPTIONS(description="drill for a drill; empty for the real thing"),
  `run_id` STRING OPTIONS(description="run that wrote the row"),
  `bundle_version` STRING OPTIONS(description="bundle that scored the cluster"),
  PRIMARY KEY (`alert_id`, `revision`) NOT ENFORCED
)
PARTITION BY DATE(`changed_at`)
CLUSTER BY `cluster_id`, `policy`, `state`
OPTIONS(description="What became of each alert: one row per step of its life. The view `current_alerts` has the newest of each.", labels=[("contract_version", "1")]);
