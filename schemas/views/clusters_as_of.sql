-- The newest revision of every cluster that was known at a moment of the past.
--
-- ? moment TIMESTAMP: event time by which revisions were known
-- = flagged_clusters
SELECT * FROM flagged_clusters
WHERE COALESCE(first_alert, last_seen) <= moment
QUALIFY ROW_NUMBER() OVER (PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1
