CREATE OR REPLACE VIEW "current_clusters" AS
SELECT
  *
FROM flagged_clusters
WHERE
  TRUE
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1;
COMMENT ON VIEW "current_clusters" IS 'The newest revision of every cluster, in its newest window.';
COMMENT ON COLUMN "current_clusters"."cluster_id" IS 'kept while the cluster grows';
COMMENT ON COLUMN "current_clusters"."revision" IS 'requests seen so far, and more after a split; the largest is current [requests]';
COMMENT ON COLUMN "current_clusters"."window_start" IS 'begin of the profile window [UTC]';
COMMENT ON COLUMN "current_clusters"."window_end" IS 'end of the profile window [UTC]';
COMMENT ON COLUMN "current_clusters"."status" IS 'open or resolved; what people decided is in dispositions (growing and dismissed are not written)';
COMMENT ON COLUMN "current_clusters"."severity" IS 'low, medium, high or critical';
COMMENT ON COLUMN "current_clusters"."score" IS 'ensemble score; compare among clusters only [score]';
COMMENT ON COLUMN "current_clusters"."p_value" IS 'calibrated p-value [probability]';
COMMENT ON COLUMN "current_clusters"."first_seen" IS 'first request of a member [UTC]';
COMMENT ON COLUMN "current_clusters"."last_seen" IS 'last request of a member [UTC]';
COMMENT ON COLUMN "current_clusters"."first_alert" IS 'event time by which this revision was known [UTC]';
COMMENT ON COLUMN "current_clusters"."account_count" IS 'member accounts [accounts]';
COMMENT ON COLUMN "current_clusters"."payment_count" IS 'payment fingerprints, estimated above 16 [fingerprints]';
COMMENT ON COLUMN "current_clusters"."request_count" IS 'requests of all members [requests]';
COMMENT ON COLUMN "current_clusters"."input_tokens" IS 'input tokens of these requests [tokens]';
COMMENT ON COLUMN "current_clusters"."output_tokens" IS 'output tokens of these requests [tokens]';
COMMENT ON COLUMN "current_clusters"."exposure_usd" IS 'list price of what was taken [USD]';
COMMENT ON COLUMN "current_clusters"."exposure_method" IS 'how the exposure was computed';
COMMENT ON COLUMN "current_clusters"."reasons" IS 'features that made the difference, largest first';
COMMENT ON COLUMN "current_clusters"."tactics" IS 'names of what it seems to do';
COMMENT ON COLUMN "current_clusters"."bundle_version" IS 'bundle that scored the row';
COMMENT ON COLUMN "current_clusters"."run_id" IS 'run that wrote the row';
COMMENT ON COLUMN "current_clusters"."reasoning_tokens" IS 'reasoning tokens of these requests [tokens]';
COMMENT ON COLUMN "current_clusters"."links" IS 'what members share, by kind';
COMMENT ON COLUMN "current_clusters"."capabilities" IS 'what its requests ask of the model: what it took first, then by requests';
COMMENT ON COLUMN "current_clusters"."q_value" IS 'rate of false discoveries at which its window, alone, would just have it among them; empty where alerts.control is budget [share]';
COMMENT ON COLUMN "current_clusters"."merged_into" IS 'of a resolved one: cluster that most of its accounts are in';
COMMENT ON COLUMN "current_clusters"."known_texts" IS 'collections of known texts that its requests are in, most requests first; a request counts for one';
COMMENT ON COLUMN "current_clusters"."severity_reason" IS 'why the severity was lowered; empty where it was not';
COMMENT ON COLUMN "current_clusters"."p_value_alone" IS 'without what other labs report; empty where that changes nothing [probability]';
COMMENT ON COLUMN "current_clusters"."reported_by" IS 'feeds whose indicators made the p-value smaller';
COMMENT ON COLUMN "current_clusters"."coverage" IS 'cells of the codebook where it was, or where as many requests of its peer groups would be';
