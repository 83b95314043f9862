CREATE TABLE IF NOT EXISTS `DATASET.run_health` (
  `run_id` STRING NOT NULL OPTIONS(description="run"),
  `metric` STRING NOT NULL OPTIONS(description="read, scored, refused, refused_<reason>, duplicate …"),
  `value` INT64 NOT NULL OPTIONS(description="how many [records]"),
  `stage` STRING NOT NULL OPTIONS(description="stage that counted; empty for the run"),
  `source` STRING NOT NULL OPTIONS(description="topic or file; empty for all"),
  PRIMARY KEY (`run_id`, `stage`, `metric`, `source`) NOT ENFORCED
)
CLUSTER BY `run_id`, `metric`
OPTIONS(description="What went in and what became of it: read = scored + refused + duplicate, late records being among the refused. The view `run_balance` does the sums.", labels=[("contract_version", "1")]);
