CREATE TABLE IF NOT EXISTS `DATASET.cluster_members` (
  `cluster_id` STRING NOT NULL OPTIONS(description="cluster"),
  `revision` INT64 NOT NULL OPTIONS(description="revision of the cluster [requests]"),
  `account_id` STRING NOT NULL OPTIONS(description="account"),
  `since` TIMESTAMP NOT NULL OPTIONS(description="first request of the account in the window [UTC]"),
  `request_count` INT64 OPTIONS(description="the account's requests [requests]"),
  `score` FLOAT64 OPTIONS(description="the account's own score [score]"),
  `p_value` FLOAT64 OPTIONS(description="the account's own p-value [probability]"),
  `links` ARRAY<STRUCT<`kind` STRING OPTIONS(description="what is shared: payment, network, client, prefix_scaffold …; content: what is asked; synchrony: the minutes of work; hand_over: a refusal, and work that goes on elsewhere"), `thing` STRING OPTIONS(description="hash of the shared thing, 14 hex digits"), `accounts` INT64 OPTIONS(description="accounts that share it [accounts]"), `weight` FLOAT64 OPTIONS(description="strength, falling with the number of accounts [0 to 1]")>> OPTIONS(description="strongest things shared with other members, strongest first"),
  `bundle_version` STRING OPTIONS(description="bundle that scored the row"),
  `run_id` STRING OPTIONS(description="run that wrote the row"),
  `window_start` TIMESTAMP OPTIONS(description="begin of the window that was scored [UTC]"),
  PRIMARY KEY (`cluster_id`, `window_start`, `revision`, `account_id`) NOT ENFORCED
)
PARTITION BY DATE(`since`)
CLUSTER BY `cluster_id`, `account_id`
OPTIONS(description="Accounts of flagged clusters, by revision of the cluster.", labels=[("contract_version", "1")]);
