CREATE OR REPLACE TABLE FUNCTION `${views}.clusters_as_of`(moment TIMESTAMP)
OPTIONS(description="The newest revision of every cluster that was known at a moment of the past.")
AS
SELECT
  *
FROM `${dataset}.flagged_clusters`
WHERE
  COALESCE(first_alert, last_seen) <= moment
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1
