-- Why each cluster is flagged, one reason a row, of its newest revision.
--
-- cluster_id: cluster
-- severity: of the cluster
-- feature: feature
-- value: as measured; the unit is the feature's own
-- normal_low: lower end of what is normal
-- normal_high: upper end of what is normal
-- z: distance from normal [robust standard deviations]
-- contribution: fall of the score if this alone were normal
-- words: the reason in words
SELECT
  c.cluster_id, c.severity,
  r.feature, r.value, r.normal_low, r.normal_high, r.z, r.contribution, r.words
FROM current_clusters AS c, UNNEST(c.reasons) AS r
