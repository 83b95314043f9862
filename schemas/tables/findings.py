"""What a run finds: sessions with their scores, flagged clusters, their members and evidence."""

from __future__ import annotations

from schemas.model import Table
from schemas.tables.columns import (
    CAPABILITIES,
    COVERAGE,
    FEATURES,
    KNOWN,
    LINKS,
    REASONING,
    REASONS,
    RUN,
    SHARED,
    TOKENS,
    WINDOW,
    many,
    may,
    must,
)

SESSION_SCORES = Table(
    "session_scores",
    "One row per session, key kind and revision; level `profile` is an account over the long "
    "window. The view `current_sessions` has the newest revision of each.",
    ("session_id", "revision"),
    "session_start",
    ("key", "level", "peer_group"),
    (
        must("session_id", "STRING", "stable name of the session"),
        must("revision", "INT64", "requests folded so far; the largest is current", "requests"),
        must("level", "STRING", "session_account, session_payment or profile"),
        must("key_kind", "STRING", "account or payment"),
        must("key", "STRING", "account id, or pseudonym of the payment fingerprint"),
        must("session_start", "TIMESTAMP", "first request", "UTC"),
        must("session_end", "TIMESTAMP", "last request", "UTC"),
        may("pane", "STRING", "early, on_time or late"),
        may("peer_group", "STRING", "tier|segment#kind of use; empty where the bundle knows none"),
        must("request_count", "INT64", "requests", "requests"),
        *TOKENS,
        FEATURES,
        must("score", "FLOAT64", "ensemble score; compare within a level only", "score"),
        must("p_value", "FLOAT64", "calibrated p-value of the row alone", "probability"),
        may("combined_p_value", "FLOAT64", "with the cluster's; profiles only", "probability"),
        may("cluster_id", "STRING", "cluster of the account, flagged or not; profiles only"),
        *RUN,
        REASONING,
        *WINDOW,
    ),
    prefer=("pane", ("early", "on_time", "late")),
)

FLAGGED_CLUSTERS = Table(
    "flagged_clusters",
    "One row per flagged cluster, window and revision. The view `current_clusters` has the newest "
    "of each.",
    ("cluster_id", "window_start", "revision"),
    "first_seen",
    ("cluster_id", "severity", "status"),
    (
        must("cluster_id", "STRING", "kept while the cluster grows"),
        must(
            "revision",
            "INT64",
            "requests seen so far, and more after a split; the largest is current",
            "requests",
        ),
        must("window_start", "TIMESTAMP", "begin of the profile window", "UTC"),
        must("window_end", "TIMESTAMP", "end of the profile window", "UTC"),
        must(
            "status",
            "STRING",
            "open or resolved; what people decided is in dispositions (growing and dismissed are "
            "not written)",
        ),
        must("severity", "STRING", "low, medium, high or critical"),
        must("score", "FLOAT64", "ensemble score; compare among clusters only", "score"),
        must("p_value", "FLOAT64", "calibrated p-value", "probability"),
        must("first_seen", "TIMESTAMP", "first request of a member", "UTC"),
        must("last_seen", "TIMESTAMP", "last request of a member", "UTC"),
        may("first_alert", "TIMESTAMP", "event time by which this revision was known", "UTC"),
        must("account_count", "INT64", "member accounts", "accounts"),
        may("payment_count", "INT64", "payment fingerprints, estimated above 16", "fingerprints"),
        must("request_count", "INT64", "requests of all members", "requests"),
        *TOKENS,
        may("exposure_usd", "FLOAT64", "list price of what was taken", "USD"),
        may("exposure_method", "STRING", "how the exposure was computed"),
        REASONS,
        many("tactics", "names of what it seems to do", kind="STRING"),
        *RUN,
        REASONING,
        SHARED,
        CAPABILITIES,
        may(
            "q_value",
            "FLOAT64",
            "rate of false discoveries at which its window, alone, would just have it among them; "
            "empty where alerts.control is budget",
            "share",
        ),
        may("merged_into", "STRING", "of a resolved one: cluster that most of its accounts are in"),
        KNOWN,
        may("severity_reason", "STRING", "why the severity was lowered; empty where it was not"),
        may(
            "p_value_alone",
            "FLOAT64",
            "without what other labs report; empty where that changes nothing",
            "probability",
        ),
        many("reported_by", "feeds whose indicators made the p-value smaller", kind="STRING"),
        COVERAGE,
    ),
)

CLUSTER_MEMBERS = Table(
    "cluster_members",
    "Accounts of flagged clusters, by revision of the cluster.",
    ("cluster_id", "window_start", "revision", "account_id"),
    "since",
    ("cluster_id", "account_id"),
    (
        must("cluster_id", "STRING", "cluster"),
        must("revision", "INT64", "revision of the cluster", "requests"),
        must("account_id", "STRING", "account"),
        must("since", "TIMESTAMP", "first request of the account in the window", "UTC"),
        may("request_count", "INT64", "the account's requests", "requests"),
        may("score", "FLOAT64", "the account's own score", "score"),
        may("p_value", "FLOAT64", "the account's own p-value", "probability"),
        LINKS,
        *RUN,
        WINDOW[0],
    ),
    # A cluster keeps its name in the next window, where its requests are counted anew.
    key_added=("window_start",),
)

CLUSTER_EVIDENCE = Table(
    "cluster_evidence",
    "What of a flagged cluster other labs might use, by revision; never leaves as it is. "
    "`distilwatch share propose` makes indicators of it.",
    ("cluster_id", "window_start", "revision"),
    "window_start",
    ("cluster_id",),
    (
        must("cluster_id", "STRING", "cluster"),
        must("window_start", "TIMESTAMP", "begin of the profile window", "UTC"),
        must("revision", "INT64", "revision of the cluster", "requests"),
        may("window_end", "TIMESTAMP", "end of the profile window", "UTC"),
        must("account_count", "INT64", "member accounts", "accounts"),
        FEATURES,
        many(
            "things",
            "what members share and accounts elsewhere may, too; the strongest of each kind",
            may("kind", "STRING", "a wording, network or client, as in the table indicators"),
            may("thing", "STRING", "hash of the shared thing, 14 hex digits"),
            may("members", "INT64", "members that have it", "accounts"),
            may("others", "INT64", "accounts of the window that have it, too", "accounts"),
        ),
        may("coverage", "BYTES", "sum over members of what each asks, in equal parts; compressed"),
        may("space", "STRING", "hash of the space that coverage was measured in"),
        may("embedding_model", "STRING", "embedder of that space"),
        *RUN,
    ),
)
