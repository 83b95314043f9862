CREATE TABLE IF NOT EXISTS `DATASET.cluster_evidence` (
  `cluster_id` STRING NOT NULL OPTIONS(description="cluster"),
  `window_start` TIMESTAMP NOT NULL OPTIONS(description="begin of the profile window [UTC]"),
  `revision` INT64 NOT NULL OPTIONS(description="revision of the cluster [requests]"),
  `window_end` TIMESTAMP OPTIONS(description="end of the profile window [UTC]"),
  `account_count` INT64 NOT NULL OPTIONS(description="member accounts [accounts]"),
  `features` ARRAY<STRUCT<`name` STRING OPTIONS(description="feature"), `value` FLOAT64 OPTIONS(description="as measured [the feature's own]"), `normal_low` FLOAT64 OPTIONS(description="lower end of the middle two thirds of its peers [the feature's own]"), `normal_high` FLOAT64 OPTIONS(description="upper end of the middle two thirds of its peers [the feature's own]"), `z` FLOAT64 OPTIONS(description="distance from the peers' median [robust standard deviations]")>> OPTIONS(description="features, with what is normal for the peer group at this volume; unknown ones are left out"),
  `things` ARRAY<STRUCT<`kind` STRING OPTIONS(description="a wording, network or client, as in the table indicators"), `thing` STRING OPTIONS(description="hash of the shared thing, 14 hex digits"), `members` INT64 OPTIONS(description="members that have it [accounts]"), `others` INT64 OPTIONS(description="accounts of the window that have it, too [accounts]")>> OPTIONS(description="what members share and accounts elsewhere may, too; the strongest of each kind"),
  `coverage` BYTES OPTIONS(description="sum over members of what each asks, in equal parts; compressed"),
  `space` STRING OPTIONS(description="hash of the space that coverage was measured in"),
  `embedding_model` STRING OPTIONS(description="embedder of that space"),
  `bundle_version` STRING OPTIONS(description="bundle that scored the row"),
  `run_id` STRING OPTIONS(description="run that wrote the row"),
  PRIMARY KEY (`cluster_id`, `window_start`, `revision`) NOT ENFORCED
)
PARTITION BY DATE(`window_start`)
CLUSTER BY `cluster_id`
OPTIONS(description="What of a flagged cluster other labs might use, by revision; never leaves as it is. `distilwatch share propose` makes indicators of it.", labels=[("contract_version", "1")]);
