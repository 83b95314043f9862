-- The newest revision of every cluster, in its newest window.
--
-- = flagged_clusters
SELECT * FROM flagged_clusters
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1
