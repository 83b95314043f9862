CREATE OR REPLACE VIEW `${views}.cluster_reasons` (
  `cluster_id` OPTIONS(description="cluster"),
  `severity` OPTIONS(description="of the cluster"),
  `feature` OPTIONS(description="feature"),
  `value` OPTIONS(description="as measured; the unit is the feature's own"),
  `normal_low` OPTIONS(description="lower end of what is normal"),
  `normal_high` OPTIONS(description="upper end of what is normal"),
  `z` OPTIONS(description="distance from normal [robust standard deviations]"),
  `contribution` OPTIONS(description="fall of the score if this alone were normal"),
  `words` OPTIONS(description="the reason in words")
)
OPTIONS(description="Why each cluster is flagged, one reason a row, of its newest revision.")
AS
SELECT
  c.cluster_id,
  c.severity,
  r.feature,
  r.value,
  r.normal_low,
  r.normal_high,
  r.z,
  r.contribution,
  r.words
FROM `${views}.current_clusters` AS c
CROSS JOIN UNNEST(c.reasons) AS r
