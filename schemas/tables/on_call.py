"""What staff were told, and what they decided."""

from __future__ import annotations

from schemas.model import Table
from schemas.tables.columns import many, may, must

DISPOSITIONS = Table(
    "dispositions",
    "What staff decided about clusters, by whom, why, and until when.",
    ("cluster_id", "decided_at"),
    "decided_at",
    ("cluster_id", "decision"),
    (
        must("cluster_id", "STRING", "cluster"),
        must(
            "decision",
            "STRING",
            "confirm, dismiss, permitted, watch, split or merge; withdraw takes back the decision "
            "of the same disposition_id",
        ),
        must("decided_by", "STRING", "who"),
        must("decided_at", "TIMESTAMP", "when", "UTC"),
        may("reason", "STRING", "why"),
        may("valid_until", "TIMESTAMP", "until when it holds; empty for ever", "UTC"),
        may("disposition_id", "STRING", "stable name of the decision; its withdrawal has it, too"),
        may(
            "revision",
            "INT64",
            "1 as it was made; the largest of a disposition_id counts",
            "number",
        ),
        many(
            "accounts",
            "accounts that the cluster held then; of a merge, those of all its clusters",
            kind="STRING",
        ),
        many("split_accounts", "of a split: those that do not belong with the rest", kind="STRING"),
        many("merged_clusters", "of a merge: clusters of the same campaign", kind="STRING"),
        may("cluster_revision", "INT64", "revision that was looked at", "requests"),
        may("severity", "STRING", "severity of the cluster then; of a merge, the gravest"),
        may(
            "exposure_usd",
            "FLOAT64",
            "exposure of the cluster then; of a merge, the largest",
            "USD",
        ),
        may("source", "STRING", "where it was decided: command, triage …"),
    ),
)

ALERTS = Table(
    "alerts",
    "What became of each alert: one row per step of its life. The view `current_alerts` has the "
    "newest of each.",
    ("alert_id", "revision"),
    "changed_at",
    ("cluster_id", "policy", "state"),
    (
        must("alert_id", "STRING", "stable name; a cluster that comes back gets another"),
        must("revision", "INT64", "steps of its life so far; the largest is current", "steps"),
        must("cluster_id", "STRING", "cluster that it is about; of a storm, the storm's own name"),
        must("step", "STRING", "opened, raised, updated, acknowledged or resolved"),
        must("state", "STRING", "open, acknowledged or resolved"),
        must("severity", "STRING", "low, medium, high or critical"),
        must("changed_at", "TIMESTAMP", "when this step was made", "UTC"),
        may("policy", "STRING", "policy that made it"),
        may("policy_version", "STRING", "digest of the policy, 12 hex digits"),
        may("reason", "STRING", "why this step was made"),
        may("cluster_revision", "INT64", "revision of the cluster that was looked at", "requests"),
        may("window_start", "TIMESTAMP", "window of the cluster that was looked at", "UTC"),
        may("event_time", "TIMESTAMP", "last request of the cluster that was looked at", "UTC"),
        may("opened_at", "TIMESTAMP", "when it was opened", "UTC"),
        may("account_count", "INT64", "accounts of the cluster", "accounts"),
        may("request_count", "INT64", "requests of the cluster", "requests"),
        may("exposure_usd", "FLOAT64", "list price of what was taken", "USD"),
        may("p_value", "FLOAT64", "of the cluster", "probability"),
        may("q_value", "FLOAT64", "of the cluster", "share"),
        may("storm_id", "STRING", "alert of the storm that it was told in, not by itself"),
        may("disposition_id", "STRING", "decision that made this step"),
        many("channels", "where this step was told; none where nobody was", kind="STRING"),
        may("namespace", "STRING", "drill for a drill; empty for the real thing"),
        may("run_id", "STRING", "run that wrote the row"),
        may("bundle_version", "STRING", "bundle that scored the cluster"),
    ),
)
