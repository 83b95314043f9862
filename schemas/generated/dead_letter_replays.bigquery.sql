CREATE TABLE IF NOT EXISTS `DATASET.dead_letter_replays` (
  `source` STRING NOT NULL OPTIONS(description="of the letter"),
  `partition` INT64 NOT NULL OPTIONS(description="of the letter [number]"),
  `offset` INT64 NOT NULL OPTIONS(description="of the letter [records or bytes]"),
  `replay_id` STRING NOT NULL OPTIONS(description="the replay"),
  `status` STRING NOT NULL OPTIONS(description="replayed, still_refused, or gone: its bytes are nowhere"),
  `replayed_at` TIMESTAMP NOT NULL OPTIONS(description="when [UTC]"),
  `reason` STRING OPTIONS(description="why it is still refused, or gone"),
  `to_source` STRING OPTIONS(description="topic or file that it was written to, or detect"),
  `to_partition` INT64 OPTIONS(description="partition that it was written to [number]"),
  `to_offset` INT64 OPTIONS(description="offset that it has there [records]"),
  PRIMARY KEY (`source`, `partition`, `offset`, `replay_id`) NOT ENFORCED
)
PARTITION BY DATE(`replayed_at`)
CLUSTER BY `status`, `source`
OPTIONS(description="What became of dead letters that were replayed: one row per letter and replay. The view `dead_letter_status` has the status of each letter.", labels=[("contract_version", "1")]);
