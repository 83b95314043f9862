CREATE TABLE IF NOT EXISTS `DATASET.dead_letters` (
  `source` STRING NOT NULL OPTIONS(description="topic or file"),
  `partition` INT64 NOT NULL OPTIONS(description="partition of the topic, 0 for files [number]"),
  `offset` INT64 NOT NULL OPTIONS(description="offset in the partition; position for files [records or bytes]"),
  `reason` STRING NOT NULL OPTIONS(description="why, one stable word; docs/dead_letters.md lists them"),
  `detail` STRING OPTIONS(description="names and types, never values"),
  `raw_sha256` STRING OPTIONS(description="SHA-256 of the record, 64 hex digits"),
  `raw_bytes` INT64 OPTIONS(description="length of the record [bytes]"),
  `event_time` TIMESTAMP OPTIONS(description="its time where it could be read [UTC]"),
  `run_id` STRING OPTIONS(description="run that wrote the row"),
  `schema_id` INT64 OPTIONS(description="id in the schema registry, of records that bring one [id]"),
  `raw` BYTES OPTIONS(description="the record, encrypted; empty unless a key is configured, and for long ones"),
  PRIMARY KEY (`source`, `partition`, `offset`) NOT ENFORCED
)
PARTITION BY DATE(`event_time`)
CLUSTER BY `reason`, `source`
OPTIONS(description="Records that were refused, with their place and reason. Prompt text is never here in clear.", labels=[("contract_version", "1")]);
