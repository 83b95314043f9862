CREATE OR REPLACE VIEW "cluster_windows" AS
SELECT
  *
FROM flagged_clusters
WHERE
  TRUE
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY cluster_id, window_start ORDER BY revision DESC) = 1;
COMMENT ON VIEW "cluster_windows" IS 'The newest revision of every cluster in every window; counts of different windows may be added.';
COMMENT ON COLUMN "cluster_windows"."cluster_id" IS 'kept while the cluster grows';
COMMENT ON COLUMN "cluster_windows"."revision" IS 'requests seen so far, and more after a split; the largest is current [requests]';
COMMENT ON COLUMN "cluster_windows"."window_start" IS 'begin of the profile window [UTC]';
COMMENT ON COLUMN "cluster_windows"."window_end" IS 'end of the profile window [UTC]';
COMMENT ON COLUMN "cluster_windows"."status" IS 'open or resolved; what people decided is in dispositions (growing and dismissed are not written)';
COMMENT ON COLUMN "cluster_windows"."severity" IS 'low, medium, high or critical';
COMMENT ON COLUMN "cluster_windows"."score" IS 'ensemble score; compare among clusters only [score]';
COMMENT ON COLUMN "cluster_windows"."p_value" IS 'calibrated p-value [probability]';
COMMENT ON COLUMN "cluster_windows"."first_seen" IS 'first request of a member [UTC]';
COMMENT ON COLUMN "cluster_windows"."last_seen" IS 'last request of a member [UTC]';
COMMENT ON COLUMN "cluster_windows"."first_alert" IS 'event time by which this revision was known [UTC]';
COMMENT ON COLUMN "cluster_windows"."account_count" IS 'member accounts [accounts]';
COMMENT ON COLUMN "cluster_windows"."payment_count" IS 'payment fingerprints, estimated above 16 [fingerprints]';
COMMENT ON COLUMN "cluster_windows"."request_count" IS 'requests of all members [requests]';
COMMENT ON COLUMN "cluster_windows"."input_tokens" IS 'input tokens of these requests [tokens]';
COMMENT ON COLUMN "cluster_windows"."output_tokens" IS 'output tokens of these requests [tokens]';
COMMENT ON COLUMN "cluster_windows"."exposure_usd" IS 'list price of what was taken [USD]';
COMMENT ON COLUMN "cluster_windows"."exposure_method" IS 'how the exposure was computed';
COMMENT ON COLUMN "cluster_windows"."reasons" IS 'features that made the difference, largest first';
COMMENT ON COLUMN "cluster_windows"."tactics" IS 'names of what it seems to do';
COMMENT ON COLUMN "cluster_windows"."bundle_version" IS 'bundle that scored the row';
COMMENT ON COLUMN "cluster_windows"."run_id" IS 'run that wrote the row';
COMMENT ON COLUMN "cluster_windows"."reasoning_tokens" IS 'reasoning tokens of these requests [tokens]';
COMMENT ON COLUMN "cluster_windows"."links" IS 'what members share, by kind';
COMMENT ON COLUMN "cluster_windows"."capabilities" IS 'what its requests ask of the model: what it took first, then by requests';
COMMENT ON COLUMN "cluster_windows"."q_value" IS 'rate of false discoveries at which its window, alone, would just have it among them; empty where alerts.control is budget [share]';
COMMENT ON COLUMN "cluster_windows"."merged_into" IS 'of a resolved one: cluster that most of its accounts are in';
COMMENT ON COLUMN "cluster_windows"."known_texts" IS 'collections of known texts that its requests are in, most requests first; a request counts for one';
COMMENT ON COLUMN "cluster_windows"."severity_reason" IS 'why the severity was lowered; empty where it was not';
COMMENT ON COLUMN "cluster_windows"."p_value_alone" IS 'without what other labs report; empty where that changes nothing [probability]';
COMMENT ON COLUMN "cluster_windows"."reported_by" IS 'feeds whose indicators made the p-value smaller';
COMMENT ON COLUMN "cluster_windows"."coverage" IS 'cells of the codebook where it was, or where as many requests of its peer groups would be';
