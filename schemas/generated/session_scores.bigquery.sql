CREATE TABLE IF NOT EXISTS `DATASET.session_scores` (
  `session_id` STRING NOT NULL OPTIONS(description="stable name of the session"),
  `revision` INT64 NOT NULL OPTIONS(description="requests folded so far; the largest is current [requests]"),
  `level` STRING NOT NULL OPTIONS(description="session_account, session_payment or profile"),
  `key_kind` STRING NOT NULL OPTIONS(description="account or payment"),
  `key` STRING NOT NULL OPTIONS(description="account id, or pseudonym of the payment fingerprint"),
  `session_start` TIMESTAMP NOT NULL OPTIONS(description="first request [UTC]"),
  `session_end` TIMESTAMP NOT NULL OPTIONS(description="last request [UTC]"),
  `pane` STRING OPTIONS(description="early, on_time or late"),
  `peer_group` STRING OPTIONS(description="tier|segment#kind of use; empty where the bundle knows none"),
  `request_count` INT64 NOT NULL OPTIONS(description="requests [requests]"),
  `input_tokens` INT64 OPTIONS(description="input tokens of these requests [tokens]"),
  `output_tokens` INT64 OPTIONS(description="output tokens of these requests [tokens]"),
  `features` ARRAY<STRUCT<`name` STRING OPTIONS(description="feature"), `value` FLOAT64 OPTIONS(description="as measured [the feature's own]"), `normal_low` FLOAT64 OPTIONS(description="lower end of the middle two thirds of its peers [the feature's own]"), `normal_high` FLOAT64 OPTIONS(description="upper end of the middle two thirds of its peers [the feature's own]"), `z` FLOAT64 OPTIONS(description="distance from the peers' median [robust standard deviations]")>> OPTIONS(description="features, with what is normal for the peer group at this volume; unknown ones are left out"),
  `score` FLOAT64 NOT NULL OPTIONS(description="ensemble score; compare within a level only [score]"),
  `p_value` FLOAT64 NOT NULL OPTIONS(description="calibrated p-value of the row alone [probability]"),
  `combined_p_value` FLOAT64 OPTIONS(description="with the cluster's; profiles only [probability]"),
  `cluster_id` STRING OPTIONS(description="cluster of the account, flagged or not; profiles only"),
  `bundle_version` STRING OPTIONS(description="bundle that scored the row"),
  `run_id` STRING OPTIONS(description="run that wrote the row"),
  `reasoning_tokens` INT64 OPTIONS(description="reasoning tokens of these requests [tokens]"),
  `window_start` TIMESTAMP OPTIONS(description="begin of the window that was scored [UTC]"),
  `window_end` TIMESTAMP OPTIONS(description="end of the window that was scored [UTC]"),
  PRIMARY KEY (`session_id`, `revision`) NOT ENFORCED
)
PARTITION BY DATE(`session_start`)
CLUSTER BY `key`, `level`, `peer_group`
OPTIONS(description="One row per session, key kind and revision; level `profile` is an account over the long window. The view `current_sessions` has the newest revision of each.", labels=[("contract_version", "1")]);
