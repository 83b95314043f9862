CREATE TABLE IF NOT EXISTS `DATASET.dispositions` (
  `cluster_id` STRING NOT NULL OPTIONS(description="cluster"),
  `decision` STRING NOT NULL OPTIONS(description="confirm, dismiss, permitted or watch"),
  `decided_by` STRING NOT NULL OPTIONS(description="who"),
  `decided_at` TIMESTAMP NOT NULL OPTIONS(description="when [UTC]"),
  `reason` STRING OPTIONS(description="why"),
  `valid_until` TIMESTAMP OPTIONS(description="until when it holds; empty for ever [UTC]"),
  PRIMARY KEY (`cluster_id`, `decided_at`) NOT ENFORCED
)
PARTITION BY DATE(`decided_at`)
CLUSTER BY `cluster_id`, `decision`
OPTIONS(description="What staff decided about clusters, by whom, why, and until when.", labels=[("contract_version", "1")]);
