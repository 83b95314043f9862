CREATE OR REPLACE VIEW `${views}.current_sessions` (
  `session_id` OPTIONS(description="stable name of the session"),
  `revision` OPTIONS(description="requests folded so far; the largest is current [requests]"),
  `level` OPTIONS(description="session_account, session_payment or profile"),
  `key_kind` OPTIONS(description="account or payment"),
  `key` OPTIONS(description="account id, or pseudonym of the payment fingerprint"),
  `session_start` OPTIONS(description="first request [UTC]"),
  `session_end` OPTIONS(description="last request [UTC]"),
  `pane` OPTIONS(description="early, on_time or late"),
  `peer_group` OPTIONS(description="tier|segment#kind of use; empty where the bundle knows none"),
  `request_count` OPTIONS(description="requests [requests]"),
  `input_tokens` OPTIONS(description="input tokens of these requests [tokens]"),
  `output_tokens` OPTIONS(description="output tokens of these requests [tokens]"),
  `features` OPTIONS(description="features, with what is normal for the peer group at this volume; unknown ones are left out"),
  `score` OPTIONS(description="ensemble score; compare within a level only [score]"),
  `p_value` OPTIONS(description="calibrated p-value of the row alone [probability]"),
  `combined_p_value` OPTIONS(description="with the cluster's; profiles only [probability]"),
  `cluster_id` OPTIONS(description="cluster of the account, flagged or not; profiles only"),
  `bundle_version` OPTIONS(description="bundle that scored the row"),
  `run_id` OPTIONS(description="run that wrote the row"),
  `reasoning_tokens` OPTIONS(description="reasoning tokens of these requests [tokens]"),
  `window_start` OPTIONS(description="begin of the window that was scored [UTC]"),
  `window_end` OPTIONS(description="end of the window that was scored [UTC]")
)
OPTIONS(description="The newest revision of every session and profile. A session that a late event joined to an earlier one lies inside the newer row, and is left out.")
AS
WITH newest AS (
  SELECT
    *
  FROM `${dataset}.session_scores`
  WHERE
    TRUE
  QUALIFY
    ROW_NUMBER() OVER (PARTITION BY session_id ORDER BY revision DESC) = 1
)
SELECT
  inner_row.*
FROM newest AS inner_row
LEFT JOIN newest AS outer_row
  ON outer_row.level = inner_row.level
  AND outer_row.key_kind = inner_row.key_kind
  AND outer_row.key = inner_row.key
  AND outer_row.session_id <> inner_row.session_id
  AND outer_row.revision > inner_row.revision
  AND outer_row.session_start <= inner_row.session_start
  AND outer_row.session_end >= inner_row.session_end
WHERE
  outer_row.session_id IS NULL
