-- What became of every dead letter.
--
-- A letter that was written to a topic, and is refused there once more, is still refused.
--
-- source: topic or file
-- partition: partition of the topic, 0 for files [number]
-- offset: offset in the partition; position for files [records or bytes]
-- reason: why, one stable word
-- detail: names and types, never values
-- raw_sha256: SHA-256 of the record, 64 hex digits
-- raw_bytes: length of the record [bytes]
-- event_time: its time where it could be read [UTC]
-- run_id: run that wrote the row
-- schema_id: id in the schema registry, of records that bring one [id]
-- raw: the record, encrypted; empty unless a key is configured
-- status: open, replayed, still_refused, or what its newest replay says
-- replay_reason: why it was refused again, or could not be replayed
-- replayed_at: when it was replayed last [UTC]
-- to_source: where its replay was written to
-- to_partition: of the topic
-- to_offset: in the partition
WITH newest AS (
  SELECT * FROM dead_letter_replays
  WHERE TRUE
  QUALIFY ROW_NUMBER() OVER (
    PARTITION BY source, `partition`, `offset` ORDER BY replayed_at DESC, replay_id DESC) = 1
)
SELECT
  letter.*,
  CASE
    WHEN newest.status IS NULL THEN 'open'
    WHEN again.reason IS NOT NULL THEN 'still_refused'
    ELSE newest.status
  END AS status,
  COALESCE(again.reason, newest.reason) AS replay_reason,
  newest.replayed_at, newest.to_source, newest.to_partition, newest.to_offset
FROM dead_letters AS letter
LEFT JOIN newest ON newest.source = letter.source
  AND newest.`partition` = letter.`partition` AND newest.`offset` = letter.`offset`
LEFT JOIN dead_letters AS again ON newest.status = 'replayed'
  AND again.source = newest.to_source AND again.`partition` = newest.to_partition
  AND again.`offset` = newest.to_offset
