CREATE OR REPLACE VIEW "dead_letter_status" AS
WITH newest AS (
  SELECT
    *
  FROM dead_letter_replays
  WHERE
    TRUE
  QUALIFY
    ROW_NUMBER() OVER (
      PARTITION BY source, "partition", "offset"
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
FROM dead_letters AS letter
LEFT JOIN newest
  ON newest.source = letter.source
  AND newest."partition" = letter."partition"
  AND newest."offset" = letter."offset"
LEFT JOIN dead_letters AS again
  ON newest.status = 'replayed'
  AND again.source = newest.to_source
  AND again."partition" = newest.to_partition
  AND again."offset" = newest.to_offset;
COMMENT ON VIEW "dead_letter_status" IS 'What became of every dead letter. A letter that was written to a topic, and is refused there once more, is still refused.';
COMMENT ON COLUMN "dead_letter_status"."source" IS 'topic or file';
COMMENT ON COLUMN "dead_letter_status"."partition" IS 'partition of the topic, 0 for files [number]';
COMMENT ON COLUMN "dead_letter_status"."offset" IS 'offset in the partition; position for files [records or bytes]';
COMMENT ON COLUMN "dead_letter_status"."reason" IS 'why, one stable word';
COMMENT ON COLUMN "dead_letter_status"."detail" IS 'names and types, never values';
COMMENT ON COLUMN "dead_letter_status"."raw_sha256" IS 'SHA-256 of the record, 64 hex digits';
COMMENT ON COLUMN "dead_letter_status"."raw_bytes" IS 'length of the record [bytes]';
COMMENT ON COLUMN "dead_letter_status"."event_time" IS 'its time where it could be read [UTC]';
COMMENT ON COLUMN "dead_letter_status"."run_id" IS 'run that wrote the row';
COMMENT ON COLUMN "dead_letter_status"."schema_id" IS 'id in the schema registry, of records that bring one [id]';
COMMENT ON COLUMN "dead_letter_status"."raw" IS 'the record, encrypted; empty unless a key is configured';
COMMENT ON COLUMN "dead_letter_status"."status" IS 'open, replayed, still_refused, or what its newest replay says';
COMMENT ON COLUMN "dead_letter_status"."replay_reason" IS 'why it was refused again, or could not be replayed';
COMMENT ON COLUMN "dead_letter_status"."replayed_at" IS 'when it was replayed last [UTC]';
COMMENT ON COLUMN "dead_letter_status"."to_source" IS 'where its replay was written to';
COMMENT ON COLUMN "dead_letter_status"."to_partition" IS 'of the topic';
COMMENT ON COLUMN "dead_letter_status"."to_offset" IS 'in the partition';
