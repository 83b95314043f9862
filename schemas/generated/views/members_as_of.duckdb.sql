CREATE OR REPLACE MACRO "members_as_of"(moment) AS TABLE
WITH past AS (
  SELECT
    cluster_id,
    revision,
    window_start,
    status
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
    ROW_NUMBER() OVER (PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1
)
SELECT
  m.*
FROM cluster_members AS m
JOIN past AS t
  ON t.cluster_id = m.cluster_id
  AND t.revision = m.revision
  AND (
    m.window_start IS NULL OR m.window_start = t.window_start
  )
WHERE
  NOT t.status IN ('resolved', 'dismissed');
COMMENT ON MACRO TABLE "members_as_of" IS 'The members of every cluster that was flagged at a moment of the past.';
