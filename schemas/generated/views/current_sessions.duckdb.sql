CREATE OR REPLACE VIEW "current_sessions" AS
WITH newest AS (
  SELECT
    *
  FROM session_scores
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
  outer_row.session_id IS NULL;
COMMENT ON VIEW "current_sessions" IS 'The newest revision of every session and profile. A session that a late event joined to an earlier one lies inside the newer row, and is left out.';
COMMENT ON COLUMN "current_sessions"."session_id" IS 'stable name of the session';
COMMENT ON COLUMN "current_sessions"."revision" IS 'requests folded so far; the largest is current [requests]';
COMMENT ON COLUMN "current_sessions"."level" IS 'session_account, session_payment or profile';
COMMENT ON COLUMN "current_sessions"."key_kind" IS 'account or payment';
COMMENT ON COLUMN "current_sessions"."key" IS 'account id, or pseudonym of the payment fingerprint';
COMMENT ON COLUMN "current_sessions"."session_start" IS 'first request [UTC]';
COMMENT ON COLUMN "current_sessions"."session_end" IS 'last request [UTC]';
COMMENT ON COLUMN "current_sessions"."pane" IS 'early, on_time or late';
COMMENT ON COLUMN "current_sessions"."peer_group" IS 'tier|segment#kind of use; empty where the bundle knows none';
COMMENT ON COLUMN "current_sessions"."request_count" IS 'requests [requests]';
COMMENT ON COLUMN "current_sessions"."input_tokens" IS 'input tokens of these requests [tokens]';
COMMENT ON COLUMN "current_sessions"."output_tokens" IS 'output tokens of these requests [tokens]';
COMMENT ON COLUMN "current_sessions"."features" IS 'features, with what is normal for the peer group at this volume; unknown ones are left out';
COMMENT ON COLUMN "current_sessions"."score" IS 'ensemble score; compare within a level only [score]';
COMMENT ON COLUMN "current_sessions"."p_value" IS 'calibrated p-value of the row alone [probability]';
COMMENT ON COLUMN "current_sessions"."combined_p_value" IS 'with the cluster''s; profiles only [probability]';
COMMENT ON COLUMN "current_sessions"."cluster_id" IS 'cluster of the account, flagged or not; profiles only';
COMMENT ON COLUMN "current_sessions"."bundle_version" IS 'bundle that scored the row';
COMMENT ON COLUMN "current_sessions"."run_id" IS 'run that wrote the row';
COMMENT ON COLUMN "current_sessions"."reasoning_tokens" IS 'reasoning tokens of these requests [tokens]';
COMMENT ON COLUMN "current_sessions"."window_start" IS 'begin of the window that was scored [UTC]';
COMMENT ON COLUMN "current_sessions"."window_end" IS 'end of the window that was scored [UTC]';
