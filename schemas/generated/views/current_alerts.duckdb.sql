CREATE OR REPLACE VIEW "current_alerts" AS
SELECT
  *
FROM alerts
WHERE
  TRUE
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY alert_id ORDER BY revision DESC) = 1;
COMMENT ON VIEW "current_alerts" IS 'The newest revision of every alert.';
COMMENT ON COLUMN "current_alerts"."alert_id" IS 'stable name; a cluster that comes back gets another';
COMMENT ON COLUMN "current_alerts"."revision" IS 'steps of its life so far; the largest is current [steps]';
COMMENT ON COLUMN "current_alerts"."cluster_id" IS 'cluster that it is about; of a storm, the storm''s own name';
COMMENT ON COLUMN "current_alerts"."step" IS 'opened, raised, updated, acknowledged or resolved';
COMMENT ON COLUMN "current_alerts"."state" IS 'open, acknowledged or resolved';
COMMENT ON COLUMN "current_alerts"."severity" IS 'low, medium, high or critical';
COMMENT ON COLUMN "current_alerts"."changed_at" IS 'when this step was made [UTC]';
COMMENT ON COLUMN "current_alerts"."policy" IS 'policy that made it';
COMMENT ON COLUMN "current_alerts"."policy_version" IS 'digest of the policy, 12 hex digits';
COMMENT ON COLUMN "current_alerts"."reason" IS 'why this step was made';
COMMENT ON COLUMN "current_alerts"."cluster_revision" IS 'revision of the cluster that was looked at [requests]';
COMMENT ON COLUMN "current_alerts"."window_start" IS 'window of the cluster that was looked at [UTC]';
COMMENT ON COLUMN "current_alerts"."event_time" IS 'last request of the cluster that was looked at [UTC]';
COMMENT ON COLUMN "current_alerts"."opened_at" IS 'when it was opened [UTC]';
COMMENT ON COLUMN "current_alerts"."account_count" IS 'accounts of the cluster [accounts]';
COMMENT ON COLUMN "current_alerts"."request_count" IS 'requests of the cluster [requests]';
COMMENT ON COLUMN "current_alerts"."exposure_usd" IS 'list price of what was taken [USD]';
COMMENT ON COLUMN "current_alerts"."p_value" IS 'of the cluster [probability]';
COMMENT ON COLUMN "current_alerts"."q_value" IS 'of the cluster [share]';
COMMENT ON COLUMN "current_alerts"."storm_id" IS 'alert of the storm that it was told in, not by itself';
COMMENT ON COLUMN "current_alerts"."disposition_id" IS 'decision that made this step';
COMMENT ON COLUMN "current_alerts"."channels" IS 'where this step was told; none where nobody was';
COMMENT ON COLUMN "current_alerts"."namespace" IS 'drill for a drill; empty for the real thing';
COMMENT ON COLUMN "current_alerts"."run_id" IS 'run that wrote the row';
COMMENT ON COLUMN "current_alerts"."bundle_version" IS 'bundle that scored the cluster';
