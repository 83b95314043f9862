-- The newest revision of every cluster in every window; counts of different windows may be added.
--
-- = flagged_clusters
SELECT * FROM flagged_clusters
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (PARTITION BY cluster_id, window_start ORDER BY revision DESC) = 1
