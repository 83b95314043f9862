CREATE OR REPLACE VIEW "current_verdicts" AS
WITH decisions AS (
  SELECT
    cluster_id,
    decision,
    decided_at
  FROM dispositions
  WHERE
    TRUE
  QUALIFY
    ROW_NUMBER() OVER (
      PARTITION BY COALESCE(disposition_id, cluster_id || '/' || CAST(EPOCH_MS(decided_at) AS TEXT))
      ORDER BY COALESCE(revision, 1) DESC
    ) = 1
)
SELECT
  cluster_id,
  decision,
  decided_at
FROM decisions
WHERE
  decision IN ('confirm', 'dismiss', 'permitted', 'watch')
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY cluster_id ORDER BY decided_at DESC) = 1;
COMMENT ON VIEW "current_verdicts" IS 'What staff said of each cluster: of several decisions the latest that was not taken back. Splits and merges are no verdicts.';
COMMENT ON COLUMN "current_verdicts"."cluster_id" IS 'that it is about';
COMMENT ON COLUMN "current_verdicts"."decision" IS 'confirm, dismiss, permitted or watch';
COMMENT ON COLUMN "current_verdicts"."decided_at" IS 'when [UTC]';
