CREATE TABLE IF NOT EXISTS `DATASET.indicators` (
  `indicator_id` STRING NOT NULL OPTIONS(description="the same at every lab"),
  `direction` STRING NOT NULL OPTIONS(description="shared or received"),
  `kind` STRING NOT NULL OPTIONS(description="prefix_scaffold, suffix_scaffold, opening_sentence, closing_sentence, network, client, payment (never shared), coverage or behaviour"),
  `value` STRING OPTIONS(description="keyed hash, hex, or a coarse public value such as a network"),
  `sketch` BYTES OPTIONS(description="coverage, where the kind is one that is compared and not equal"),
  `provider` STRING OPTIONS(description="lab that made it"),
  `cluster_id` STRING OPTIONS(description="name, given by the lab that made it, of the campaign; says nothing to others"),
  `confidence` INT64 OPTIONS(description="of the lab that made it [0 to 100]"),
  `marking` STRING OPTIONS(description="traffic light protocol: clear, green, amber, amber+strict, red"),
  `valid_from` TIMESTAMP NOT NULL OPTIONS(description="from when it holds [UTC]"),
  `valid_until` TIMESTAMP OPTIONS(description="until when it holds; empty for ever [UTC]"),
  `revoked` BOOL OPTIONS(description="whether the lab that made it took it back"),
  `created` TIMESTAMP OPTIONS(description="when its first version was made [UTC]"),
  `modified` TIMESTAMP OPTIONS(description="when this version was made; the latest counts [UTC]"),
  `revision` INT64 OPTIONS(description="version: 1, 2, … [number]"),
  `method` STRING OPTIONS(description="how it was made"),
  `source` STRING OPTIONS(description="who brought it here: own, or the name of a feed"),
  PRIMARY KEY (`indicator_id`) NOT ENFORCED
)
PARTITION BY DATE(`valid_from`)
CLUSTER BY `kind`, `direction`
OPTIONS(description="What was shared with other labs or received from them; nothing that names a customer.", labels=[("contract_version", "1")]);
