CREATE TABLE IF NOT EXISTS `DATASET.sightings` (
  `sighting_id` STRING NOT NULL OPTIONS(description="stable name, the same for the same match"),
  `indicator_id` STRING NOT NULL OPTIONS(description="indicator that matched"),
  `account_id` STRING OPTIONS(description="account in which it was seen"),
  `cluster_id` STRING OPTIONS(description="cluster of that account"),
  `first_seen` TIMESTAMP NOT NULL OPTIONS(description="first match [UTC]"),
  `last_seen` TIMESTAMP NOT NULL OPTIONS(description="last match [UTC]"),
  `match_count` INT64 OPTIONS(description="requests that matched [requests]"),
  `similarity` FLOAT64 OPTIONS(description="of compared kinds; 1 where values are equal [0 to 1]"),
  `run_id` STRING OPTIONS(description="run that wrote the row"),
  PRIMARY KEY (`sighting_id`) NOT ENFORCED
)
PARTITION BY DATE(`first_seen`)
CLUSTER BY `indicator_id`, `account_id`
OPTIONS(description="Where an indicator was seen in our own traffic.", labels=[("contract_version", "1")]);
