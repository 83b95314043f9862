"""Contract 2, version 1: every table, defined once. All other forms are made from here.

Columns are only ever added, at the end of a table and not REQUIRED;
`tests/schemas/contract_v1.json` holds what was promised, and a test compares.
"""

from __future__ import annotations

from collections.abc import Mapping

from schemas.model import Column, Mode, Table, Type, check_table
from schemas.normalise import normalise_row
from schemas.views import VIEWS

__all__ = [
    "FREE_TEXT",
    "IDENTIFIERS",
    "TABLES",
    "VERSION",
    "VIEWS",
    "Column",
    "Table",
    "normalise_row",
]

VERSION = 1


def _must(name: str, kind: Type, description: str, unit: str = "") -> Column:
    return Column(name, kind, "REQUIRED", description, unit)


def _may(name: str, kind: Type, description: str, unit: str = "") -> Column:
    return Column(name, kind, "NULLABLE", description, unit)


def _many(name: str, description: str, *fields: Column, kind: Type = "RECORD") -> Column:
    mode: Mode = "REPEATED"
    return Column(name, kind, mode, description, fields=fields)


_RUN = (
    _may("bundle_version", "STRING", "bundle that scored the row"),
    _may("run_id", "STRING", "run that wrote the row"),
)
_FEATURES = _many(
    "features",
    "features, with what is normal for the peer group at this volume; unknown ones are left out",
    _may("name", "STRING", "feature"),
    _may("value", "FLOAT64", "as measured", "the feature's own"),
    _may(
        "normal_low",
        "FLOAT64",
        "lower end of the middle two thirds of its peers",
        "the feature's own",
    ),
    _may(
        "normal_high",
        "FLOAT64",
        "upper end of the middle two thirds of its peers",
        "the feature's own",
    ),
    _may("z", "FLOAT64", "distance from the peers' median", "robust standard deviations"),
)
_REASONS = _many(
    "reasons",
    "features that made the difference, largest first",
    _may("feature", "STRING", "feature"),
    _may("value", "FLOAT64", "as measured", "the feature's own"),
    _may("normal_low", "FLOAT64", "lower end of what is normal", "the feature's own"),
    _may("normal_high", "FLOAT64", "upper end of what is normal", "the feature's own"),
    _may("z", "FLOAT64", "distance from normal", "robust standard deviations"),
    _may("contribution", "FLOAT64", "fall of the score if this alone were normal", "score"),
    _may("words", "STRING", "the reason in words"),
)
_LINKS = _many(
    "links",
    "strongest things shared with other members, strongest first",
    _may(
        "kind",
        "STRING",
        "what is shared: payment, network, client, prefix_scaffold …; content: what is asked; "
        "synchrony: the minutes of work; hand_over: a refusal, and work that goes on elsewhere",
    ),
    _may("thing", "STRING", "hash of the shared thing, 14 hex digits"),
    _may("accounts", "INT64", "accounts that share it", "accounts"),
    _may("weight", "FLOAT64", "strength, falling with the number of accounts", "0 to 1"),
)
_SHARED = _many(
    "links",
    "what members share, by kind",
    _may("kind", "STRING", "what is shared: payment, network, client, prefix_scaffold …"),
    _may("shared", "INT64", "different things of this kind that members share", "things"),
    _may("accounts", "INT64", "members that share one of them", "accounts"),
)
_CAPABILITIES = _many(
    "capabilities",
    "what its requests ask of the model: what it took first, then by requests",
    _may("name", "STRING", "code, mathematics, tool_use, medicine, law …"),
    _may("requests", "INT64", "requests that ask for it", "requests"),
    _may("share", "FLOAT64", "of the cluster's labelled requests", "0 to 1"),
    _may(
        "lift", "FLOAT64", "the share over the history's; empty where that is not labelled", "ratio"
    ),
    _may(
        "covered",
        "FLOAT64",
        "share of the history's requests for it that lie where the cluster asked for it",
        "0 to 1",
    ),
    _may("expected", "FLOAT64", "covered by as many requests of the history", "0 to 1"),
    _may("taken", "BOOL", "whether the share is clearly above the history's"),
)
_KNOWN = _many(
    "known_texts",
    "collections of known texts that its requests are in, most requests first; a request counts "
    "for one",
    _may("name", "STRING", "collection"),
    _may("kind", "STRING", "benchmark, extraction or other"),
    _may("requests", "INT64", "requests that are in it", "requests"),
    _may("share", "FLOAT64", "of all its requests", "0 to 1"),
)
_COVERAGE = _many(
    "coverage",
    "cells of the codebook where it was, or where as many requests of the history would be",
    _may("cell", "INT64", "cell of the bundle's codebook", "number from 0"),
    _may("x", "INT64", "column of the cell's tile on a map where alike cells are near", "tiles"),
    _may("y", "INT64", "row of the tile", "tiles"),
    _may("requests", "INT64", "requests of the cluster in the cell", "requests"),
    _may(
        "expected",
        "FLOAT64",
        "of as many requests of the history, those in the cell; empty where that is not known",
        "requests",
    ),
)
_TOKENS = (
    _may("input_tokens", "INT64", "input tokens of these requests", "tokens"),
    _may("output_tokens", "INT64", "output tokens of these requests", "tokens"),
)
_REASONING = _may("reasoning_tokens", "INT64", "reasoning tokens of these requests", "tokens")
_WINDOW = (
    _may("window_start", "TIMESTAMP", "begin of the window that was scored", "UTC"),
    _may("window_end", "TIMESTAMP", "end of the window that was scored", "UTC"),
)

_SESSION_SCORES = Table(
    "session_scores",
    "One row per session, key kind and revision; level `profile` is an account over the long "
    "window. The view `current_sessions` has the newest revision of each.",
    ("session_id", "revision"),
    "session_start",
    ("key", "level", "peer_group"),
    (
        _must("session_id", "STRING", "stable name of the session"),
        _must("revision", "INT64", "requests folded so far; the largest is current", "requests"),
        _must("level", "STRING", "session_account, session_payment or profile"),
        _must("key_kind", "STRING", "account or payment"),
        _must("key", "STRING", "account id, or pseudonym of the payment fingerprint"),
        _must("session_start", "TIMESTAMP", "first request", "UTC"),
        _must("session_end", "TIMESTAMP", "last request", "UTC"),
        _may("pane", "STRING", "early, on_time or late"),
        _may("peer_group", "STRING", "tier|segment#kind of use; empty where the bundle knows none"),
        _must("request_count", "INT64", "requests", "requests"),
        *_TOKENS,
        _FEATURES,
        _must("score", "FLOAT64", "ensemble score; compare within a level only", "score"),
        _must("p_value", "FLOAT64", "calibrated p-value of the row alone", "probability"),
        _may("combined_p_value", "FLOAT64", "with the cluster's; profiles only", "probability"),
        _may("cluster_id", "STRING", "cluster of the account, flagged or not; profiles only"),
        *_RUN,
        _REASONING,
        *_WINDOW,
    ),
    prefer=("pane", ("early", "on_time", "late")),
)

_FLAGGED_CLUSTERS = Table(
    "flagged_clusters",
    "One row per flagged cluster, window and revision. The view `current_clusters` has the newest "
    "of each.",
    ("cluster_id", "window_start", "revision"),
    "first_seen",
    ("cluster_id", "severity", "status"),
    (
        _must("cluster_id", "STRING", "kept while the cluster grows"),
        _must("revision", "INT64", "requests seen so far; the largest is current", "requests"),
        _must("window_start", "TIMESTAMP", "begin of the profile window", "UTC"),
        _must("window_end", "TIMESTAMP", "end of the profile window", "UTC"),
        _must("status", "STRING", "open, growing, resolved or dismissed"),
        _must("severity", "STRING", "low, medium, high or critical"),
        _must("score", "FLOAT64", "ensemble score; compare among clusters only", "score"),
        _must("p_value", "FLOAT64", "calibrated p-value", "probability"),
        _must("first_seen", "TIMESTAMP", "first request of a member", "UTC"),
        _must("last_seen", "TIMESTAMP", "last request of a member", "UTC"),
        _may("first_alert", "TIMESTAMP", "event time by which this revision was known", "UTC"),
        _must("account_count", "INT64", "member accounts", "accounts"),
        _may("payment_count", "INT64", "payment fingerprints, estimated above 16", "fingerprints"),
        _must("request_count", "INT64", "requests of all members", "requests"),
        *_TOKENS,
        _may("exposure_usd", "FLOAT64", "list price of what was taken", "USD"),
        _may("exposure_method", "STRING", "how the exposure was computed"),
        _REASONS,
        _many("tactics", "names of what it seems to do", kind="STRING"),
        *_RUN,
        _REASONING,
        _SHARED,
        _CAPABILITIES,
        _may(
            "q_value",
            "FLOAT64",
            "rate of false discoveries at which its window, alone, would just have it among them; "
            "empty where alerts.control is budget",
            "share",
        ),
        _may(
            "merged_into", "STRING", "of a resolved one: cluster that most of its accounts are in"
        ),
        _KNOWN,
        _may("severity_reason", "STRING", "why the severity was lowered; empty where it was not"),
        _may(
            "p_value_alone",
            "FLOAT64",
            "without what other labs report; empty where that changes nothing",
            "probability",
        ),
        _many("reported_by", "feeds whose indicators made the p-value smaller", kind="STRING"),
        _COVERAGE,
    ),
)

_CLUSTER_MEMBERS = Table(
    "cluster_members",
    "Accounts of flagged clusters, by revision of the cluster.",
    ("cluster_id", "revision", "account_id"),
    "since",
    ("cluster_id", "account_id"),
    (
        _must("cluster_id", "STRING", "cluster"),
        _must("revision", "INT64", "revision of the cluster", "requests"),
        _must("account_id", "STRING", "account"),
        _must("since", "TIMESTAMP", "first request of the account in the window", "UTC"),
        _may("request_count", "INT64", "the account's requests", "requests"),
        _may("score", "FLOAT64", "the account's own score", "score"),
        _may("p_value", "FLOAT64", "the account's own p-value", "probability"),
        _LINKS,
        *_RUN,
        _WINDOW[0],
    ),
)

_DEAD_LETTERS = Table(
    "dead_letters",
    "Records that were refused, with their place and reason. Prompt text is never here in clear.",
    ("source", "partition", "offset"),
    "event_time",
    ("reason", "source"),
    (
        _must("source", "STRING", "topic or file"),
        _must("partition", "INT64", "partition of the topic, 0 for files", "number"),
        _must("offset", "INT64", "offset in the partition; position for files", "records or bytes"),
        _must("reason", "STRING", "why, one stable word"),
        _may("detail", "STRING", "names and types, never values"),
        _may("raw_sha256", "STRING", "SHA-256 of the record, 64 hex digits"),
        _may("raw_bytes", "INT64", "length of the record", "bytes"),
        _may("event_time", "TIMESTAMP", "its time where it could be read", "UTC"),
        _may("run_id", "STRING", "run that wrote the row"),
        _may("schema_id", "INT64", "id in the schema registry, of records that bring one", "id"),
        _may("raw", "BYTES", "the record, encrypted; empty unless a key is configured"),
    ),
)

_DEAD_LETTER_REPLAYS = Table(
    "dead_letter_replays",
    "What became of dead letters that were replayed: one row per letter and replay. The view "
    "`dead_letter_status` has the status of each letter.",
    ("source", "partition", "offset", "replay_id"),
    "replayed_at",
    ("status", "source"),
    (
        _must("source", "STRING", "of the letter"),
        _must("partition", "INT64", "of the letter", "number"),
        _must("offset", "INT64", "of the letter", "records or bytes"),
        _must("replay_id", "STRING", "the replay"),
        _must("status", "STRING", "replayed, still_refused, or gone: its bytes are nowhere"),
        _must("replayed_at", "TIMESTAMP", "when", "UTC"),
        _may("reason", "STRING", "why it is still refused, or gone"),
        _may("to_source", "STRING", "topic or file that it was written to, or detect"),
        _may("to_partition", "INT64", "partition that it was written to", "number"),
        _may("to_offset", "INT64", "offset that it has there", "records"),
    ),
)

_RUN_HEALTH = Table(
    "run_health",
    "What went in and what became of it: read = scored + refused + duplicate, late records being "
    "among the refused. The view `run_balance` does the sums.",
    ("run_id", "stage", "metric", "source"),
    "",
    ("run_id", "metric"),
    (
        _must("run_id", "STRING", "run"),
        _must("metric", "STRING", "read, scored, refused, refused_<reason>, duplicate …"),
        _must("value", "INT64", "how many", "records"),
        Column("stage", "STRING", "REQUIRED", "stage that counted; empty for the run", default=""),
        Column("source", "STRING", "REQUIRED", "topic or file; empty for all", default=""),
    ),
)

_DISPOSITIONS = Table(
    "dispositions",
    "What staff decided about clusters, by whom, why, and until when.",
    ("cluster_id", "decided_at"),
    "decided_at",
    ("cluster_id", "decision"),
    (
        _must("cluster_id", "STRING", "cluster"),
        _must(
            "decision",
            "STRING",
            "confirm, dismiss, permitted, watch, split or merge; withdraw takes back the decision "
            "of the same disposition_id",
        ),
        _must("decided_by", "STRING", "who"),
        _must("decided_at", "TIMESTAMP", "when", "UTC"),
        _may("reason", "STRING", "why"),
        _may("valid_until", "TIMESTAMP", "until when it holds; empty for ever", "UTC"),
        _may("disposition_id", "STRING", "stable name of the decision; its withdrawal has it, too"),
        _may(
            "revision",
            "INT64",
            "1 as it was made; the largest of a disposition_id counts",
            "number",
        ),
        _many("accounts", "accounts that the cluster held then", kind="STRING"),
        _many(
            "split_accounts", "of a split: those that do not belong with the rest", kind="STRING"
        ),
        _many("merged_clusters", "of a merge: clusters of the same campaign", kind="STRING"),
        _may("cluster_revision", "INT64", "revision that was looked at", "requests"),
        _may("severity", "STRING", "severity of the cluster then"),
        _may("exposure_usd", "FLOAT64", "exposure of the cluster then", "USD"),
        _may("source", "STRING", "where it was decided: command, triage …"),
    ),
)

_ALERTS = Table(
    "alerts",
    "What became of each alert: one row per step of its life. The view `current_alerts` has the "
    "newest of each.",
    ("alert_id", "revision"),
    "changed_at",
    ("cluster_id", "policy", "state"),
    (
        _must("alert_id", "STRING", "stable name; a cluster that comes back gets another"),
        _must("revision", "INT64", "steps of its life so far; the largest is current", "steps"),
        _must("cluster_id", "STRING", "cluster that it is about; of a storm, the storm's own name"),
        _must("step", "STRING", "opened, raised, updated, acknowledged or resolved"),
        _must("state", "STRING", "open, acknowledged or resolved"),
        _must("severity", "STRING", "low, medium, high or critical"),
        _must("changed_at", "TIMESTAMP", "when this step was made", "UTC"),
        _may("policy", "STRING", "policy that made it"),
        _may("policy_version", "STRING", "digest of the policy, 12 hex digits"),
        _may("reason", "STRING", "why this step was made"),
        _may("cluster_revision", "INT64", "revision of the cluster that was looked at", "requests"),
        _may("window_start", "TIMESTAMP", "window of the cluster that was looked at", "UTC"),
        _may("event_time", "TIMESTAMP", "last request of the cluster that was looked at", "UTC"),
        _may("opened_at", "TIMESTAMP", "when it was opened", "UTC"),
        _may("account_count", "INT64", "accounts of the cluster", "accounts"),
        _may("request_count", "INT64", "requests of the cluster", "requests"),
        _may("exposure_usd", "FLOAT64", "list price of what was taken", "USD"),
        _may("p_value", "FLOAT64", "of the cluster", "probability"),
        _may("q_value", "FLOAT64", "of the cluster", "share"),
        _may("storm_id", "STRING", "alert of the storm that it was told in, not by itself"),
        _may("disposition_id", "STRING", "decision that made this step"),
        _many("channels", "where this step was told; none where nobody was", kind="STRING"),
        _may("namespace", "STRING", "drill for a drill; empty for the real thing"),
        _may("run_id", "STRING", "run that wrote the row"),
        _may("bundle_version", "STRING", "bundle that scored the cluster"),
    ),
)

_INDICATORS = Table(
    "indicators",
    "What was shared with other labs or received from them; nothing that names a customer.",
    ("indicator_id",),
    "valid_from",
    ("kind", "direction"),
    (
        _must("indicator_id", "STRING", "the same at every lab"),
        _must("direction", "STRING", "shared or received"),
        _must("kind", "STRING", "payment, network, client, prefix_scaffold, coverage …"),
        _may("value", "STRING", "keyed hash, hex, or a coarse public value such as a network"),
        _may("sketch", "BYTES", "coverage, where the kind is one that is compared and not equal"),
        _may("provider", "STRING", "lab that made it"),
        _may(
            "cluster_id",
            "STRING",
            "name, given by the lab that made it, of the campaign; says nothing to others",
        ),
        _may("confidence", "INT64", "of the lab that made it", "0 to 100"),
        _may("marking", "STRING", "traffic light protocol: clear, green, amber, amber+strict, red"),
        _must("valid_from", "TIMESTAMP", "from when it holds", "UTC"),
        _may("valid_until", "TIMESTAMP", "until when it holds; empty for ever", "UTC"),
        _may("revoked", "BOOL", "whether the lab that made it took it back"),
        _may("created", "TIMESTAMP", "when its first version was made", "UTC"),
        _may("modified", "TIMESTAMP", "when this version was made; the latest counts", "UTC"),
        _may("revision", "INT64", "version: 1, 2, …", "number"),
        _may("method", "STRING", "how it was made"),
        _may("source", "STRING", "who brought it here: own, or the name of a feed"),
    ),
)

_SIGHTINGS = Table(
    "sightings",
    "Where an indicator was seen in our own traffic.",
    ("sighting_id",),
    "first_seen",
    ("indicator_id", "account_id"),
    (
        _must("sighting_id", "STRING", "stable name, the same for the same match"),
        _must("indicator_id", "STRING", "indicator that matched"),
        _may("account_id", "STRING", "account in which it was seen"),
        _may("cluster_id", "STRING", "cluster of that account"),
        _must("first_seen", "TIMESTAMP", "first match", "UTC"),
        _must("last_seen", "TIMESTAMP", "last match", "UTC"),
        _may("match_count", "INT64", "requests that matched", "requests"),
        _may("similarity", "FLOAT64", "of compared kinds; 1 where values are equal", "0 to 1"),
        _may("run_id", "STRING", "run that wrote the row"),
    ),
)

_CLUSTER_EVIDENCE = Table(
    "cluster_evidence",
    "What of a flagged cluster other labs might use, by revision; never leaves as it is. "
    "`distilwatch share propose` makes indicators of it.",
    ("cluster_id", "window_start", "revision"),
    "window_start",
    ("cluster_id",),
    (
        _must("cluster_id", "STRING", "cluster"),
        _must("window_start", "TIMESTAMP", "begin of the profile window", "UTC"),
        _must("revision", "INT64", "revision of the cluster", "requests"),
        _may("window_end", "TIMESTAMP", "end of the profile window", "UTC"),
        _must("account_count", "INT64", "member accounts", "accounts"),
        _FEATURES,
        _many(
            "things",
            "what links members and could link accounts elsewhere; the strongest of each kind",
            _may("kind", "STRING", "prefix_scaffold, suffix_scaffold, network or client"),
            _may("thing", "STRING", "hash of the shared thing, 14 hex digits"),
            _may("members", "INT64", "members that have it", "accounts"),
            _may("others", "INT64", "accounts of the window that have it, too", "accounts"),
        ),
        _may("coverage", "BYTES", "sum over members of what each asks, in equal parts; compressed"),
        _may("space", "STRING", "hash of the space that coverage was measured in"),
        _may("embedding_model", "STRING", "embedder of that space"),
        *_RUN,
    ),
)

TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
        _SESSION_SCORES,
        _FLAGGED_CLUSTERS,
        _CLUSTER_MEMBERS,
        _DEAD_LETTERS,
        _DEAD_LETTER_REPLAYS,
        _RUN_HEALTH,
        _DISPOSITIONS,
        _ALERTS,
        _INDICATORS,
        _SIGHTINGS,
        _CLUSTER_EVIDENCE,
    )
}

IDENTIFIERS: Mapping[str, tuple[str, ...]] = {
    "session_scores": ("key",),
    "cluster_members": ("account_id",),
    "dispositions": ("accounts", "split_accounts"),
    "sightings": ("account_id",),
}
"""Columns that name a customer, by table; who may read them is decided apart from the rest, and
`distilwatch forget` looks into them."""

FREE_TEXT: Mapping[str, tuple[str, ...]] = {
    "dispositions": ("reason",),
    "alerts": ("reason",),
}
"""Columns that hold what people wrote, by table: they may name a customer, too."""

for _table in TABLES.values():
    check_table(_table)
