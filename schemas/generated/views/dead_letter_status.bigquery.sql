CREATE OR REPLACE VIEW `${views}.dead_letter_status` (
  `source` OPTIONS(description="topic or file"),
  `partition` OPTIONS(description="partition of the topic, 0 for files [number]"),
  `offset` OPTIONS(description="offset in the partition; position for files [records or bytes]"),
  `reason` OPTIONS(description="why, one stable word"),
  `detail` OPTIONS(description="names and types, never values"),
  `raw_sha256` OPTIONS(description="SHA-256 of the record, 64 hex digits"),
  `raw_bytes` OPTIONS(description="length of the record [bytes]"),
  `event_time` OPTIONS(description="its time where it could be read [UTC]"),
  `run_id` OPTIONS(description="run that wrote the row"),
  `schema_id` OPTIONS(description="id in the schema registry, of records that bring one [id]"),
  `raw` OPTIONS(description="the record, encrypted; empty unless a key is configured"),
  `status` OPTIONS(description="open, replayed, still_refused, or what its newest replay says"),
  `replay_reason` OPTIONS(description="why it was refused again, or could not be replayed"),
  `replayed_at` OPTIONS(description="when it was replayed last [UTC]"),
  `to_source` OPTIONS(description="where its replay was written to"),
  `to_partition` OPTIONS(description="of the topic"),
  `to_offset` OPTIONS(description="in the partition")
)
OPTIONS(description="What became of every dead letter. A letter that was written to a topic, and is refused there once more, is still refused.")
AS
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
