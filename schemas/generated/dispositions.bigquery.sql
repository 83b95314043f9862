CREATE TABLE IF NOT EXISTS `DATASET.dispositions` (
  `cluster_id` STRING NOT NULL OPTIONS(description="cluster"),
  `decision` STRING NOT NULL OPTIONS(description="confirm, dismiss, permitted, watch, split or merge; withdraw takes back the decision of the same disposition_id"),
  `decided_by` STRING NOT NULL OPTIONS(description="who"),
  `decided_at` TIMESTAMP NOT NULL OPTIONS(description="when [UTC]"),
  `reason` STRING OPTIONS(description="why"),
  `valid_until` TIMESTAMP OPTIONS(description="until when it holds; empty for ever [UTC]"),
  `disposition_id` STRING OPTIONS(description="stable name of the decision; its withdrawal has it, too"),
  `revision` INT64 OPTIONS(description="1 as it was made; the largest of a disposition_id counts [number]"),
  `accounts` ARRAY<STRING> OPTIONS(description="accounts that the cluster held then; of a merge, those of all its clusters"),
  `split_accounts` ARRAY<STRING> OPTIONS(description="of a split: those that do not belong with the rest"),
  `merged_clusters` ARRAY<STRING> OPTIONS(description="of a merge: clusters of the same campaign"),
  `cluster_revision` INT64 OPTIONS(description="revision that was looked at [requests]"),
  `severity` STRING OPTIONS(description="severity of the cluster then; of a merge, the gravest"),
  `exposure_usd` FLOAT64 OPTIONS(description="exposure of the cluster then; of a merge, the largest [USD]"),
  `source` STRING OPTIONS(description="where it was decided: command, triage …"),
  PRIMARY KEY (`cluster_id`, `decided_at`) NOT ENFORCED
)
PARTITION BY DATE(`decided_at`)
CLUSTER BY `cluster_id`, `decision`
OPTIONS(description="What staff decided about clusters, by whom, why, and until when.", labels=[("contract_version", "1")]);
