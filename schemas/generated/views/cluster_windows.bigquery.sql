CREATE OR REPLACE VIEW `${views}.cluster_windows` (
  `cluster_id` OPTIONS(description="kept while the cluster grows"),
  `revision` OPTIONS(description="requests seen so far; the largest is current [requests]"),
  `window_start` OPTIONS(description="begin of the profile window [UTC]"),
  `window_end` OPTIONS(description="end of the profile window [UTC]"),
  `status` OPTIONS(description="open, growing, resolved or dismissed"),
  `severity` OPTIONS(description="low, medium, high or critical"),
  `score` OPTIONS(description="ensemble score; compare among clusters only [score]"),
  `p_value` OPTIONS(description="calibrated p-value [probability]"),
  `first_seen` OPTIONS(description="first request of a member [UTC]"),
  `last_seen` OPTIONS(description="last request of a member [UTC]"),
  `first_alert` OPTIONS(description="event time by which this revision was known [UTC]"),
  `account_count` OPTIONS(description="member accounts [accounts]"),
  `payment_count` OPTIONS(description="payment fingerprints, estimated above 16 [fingerprints]"),
  `request_count` OPTIONS(description="requests of all members [requests]"),
  `input_tokens` OPTIONS(description="input tokens of these requests [tokens]"),
  `output_tokens` OPTIONS(description="output tokens of these requests [tokens]"),
  `exposure_usd` OPTIONS(description="list price of what was taken [USD]"),
  `exposure_method` OPTIONS(description="how the exposure was computed"),
  `reasons` OPTIONS(description="features that made the difference, largest first"),
  `tactics` OPTIONS(description="names of what it seems to do"),
  `bundle_version` OPTIONS(description="bundle that scored the row"),
  `run_id` OPTIONS(description="run that wrote the row"),
  `reasoning_tokens` OPTIONS(description="reasoning tokens of these requests [tokens]"),
  `links` OPTIONS(description="what members share, by kind"),
  `capabilities` OPTIONS(description="what its requests ask of the model: what it took first, then by requests"),
  `q_value` OPTIONS(description="rate of false discoveries at which its window, alone, would just have it among them; empty where alerts.control is budget [share]"),
  `merged_into` OPTIONS(description="of a resolved one: cluster that most of its accounts are in"),
  `known_texts` OPTIONS(description="collections of known texts that its requests are in, most requests first; a request counts for one"),
  `severity_reason` OPTIONS(description="why the severity was lowered; empty where it was not"),
  `p_value_alone` OPTIONS(description="without what other labs report; empty where that changes nothing [probability]"),
  `reported_by` OPTIONS(description="feeds whose indicators made the p-value smaller"),
  `coverage` OPTIONS(description="cells of the codebook where it was, or where as many requests of the history would be")
)
OPTIONS(description="The newest revision of every cluster in every window; counts of different windows may be added.")
AS
SELECT
  *
FROM `${dataset}.flagged_clusters`
WHERE
  TRUE
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY cluster_id, window_start ORDER BY revision DESC) = 1
