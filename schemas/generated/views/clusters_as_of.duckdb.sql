CREATE OR REPLACE MACRO "clusters_as_of"(moment) AS TABLE
SELECT
  *
FROM flagged_clusters
WHERE
  COALESCE(first_alert, last_seen) <= (
    CASE
      WHEN TYPEOF(moment) = 'TIMESTAMP'
      THEN TIMEZONE('UTC', CAST(moment AS TIMESTAMP))
      ELSE CAST(moment AS TIMESTAMPTZ)
    END
  )
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1;
COMMENT ON MACRO TABLE "clusters_as_of" IS 'The newest revision of every cluster that was known at a moment of the past.';
