SELECT
  k.name AS capability,
  c.cluster_id,
  c.window_start,
  c.severity,
  COALESCE(k.taken, FALSE) AS taken,
  k.requests AS request_count,
  k.share,
  k.lift,
  k.covered,
  k.expected,
  COALESCE(c.exposure_usd, 0) * COALESCE(k.share, 0) AS exposure_usd
FROM `${views}.cluster_windows` AS c
CROSS JOIN UNNEST(c.capabilities) AS k
WHERE
  NOT c.status IN ('resolved', 'dismissed')
