-- The members of every cluster that was flagged at a moment of the past.
--
-- ? moment TIMESTAMP: event time by which revisions of clusters were known
-- = cluster_members
WITH past AS (
  SELECT cluster_id, revision, window_start, status FROM flagged_clusters
  WHERE COALESCE(first_alert, last_seen) <= moment
  QUALIFY ROW_NUMBER() OVER (PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1
)
SELECT m.* FROM cluster_members AS m
JOIN past AS t ON t.cluster_id = m.cluster_id AND t.revision = m.revision
  AND (m.window_start IS NULL OR m.window_start = t.window_start)
WHERE t.status NOT IN ('resolved', 'dismissed')
