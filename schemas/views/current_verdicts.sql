-- What staff said of each cluster: of several decisions the latest that was not taken back. Splits and merges are no verdicts.
--
-- cluster_id: that it is about
-- decision: confirm, dismiss, permitted or watch
-- decided_at: when [UTC]
WITH decisions AS (
  SELECT cluster_id, decision, decided_at FROM dispositions
  WHERE TRUE
  -- Before there were ids, a decision was told by cluster and time; what takes it back names both.
  QUALIFY ROW_NUMBER() OVER (
    PARTITION BY COALESCE(
      disposition_id, CONCAT(cluster_id, '/', CAST(UNIX_MILLIS(decided_at) AS STRING)))
    ORDER BY COALESCE(revision, 1) DESC) = 1
)
SELECT cluster_id, decision, decided_at FROM decisions
WHERE decision IN ('confirm', 'dismiss', 'permitted', 'watch')
QUALIFY ROW_NUMBER() OVER (PARTITION BY cluster_id ORDER BY decided_at DESC) = 1
