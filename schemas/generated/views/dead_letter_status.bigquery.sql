WITH newest AS (
  SELECT
    *
  FROM `${dataset}.dead_letter_replays`
  WHERE
    TRUE
  QUALIFY
    ROW_NUMBER() OVER (
      PARTITION BY source, `partition`, `offset`
      ORDER BY replayed_at DESC, replay_id DESC
    ) = 1
)
SELECT
  letter.*,
  CASE
    WHEN newest.status IS NULL
    THEN 'open'
    WHEN NOT again.reason IS NULL
    THEN 'still_refused'
    ELSE newest.status
  END AS status,
  COALESCE(again.reason, newest.reason) AS replay_reason,
  newest.replayed_at,
  newest.to_source,
  newest.to_partition,
  newest.to_offset
FROM `${dataset}.dead_letters` AS letter
LEFT JOIN newest
  ON newest.source = letter.source
  AND newest.`partition` = letter.`partition`
  AND newest.`offset` = letter.`offset`
LEFT JOIN `${dataset}.dead_letters` AS again
  ON newest.status = 'replayed'
  AND again.source = newest.to_source
  AND again.`partition` = newest.to_partition
  AND again.`offset` = newest.to_offset
