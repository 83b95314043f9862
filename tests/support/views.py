"""Rows of a small made-up world, and what every view must say of it."""

from __future__ import annotations

from typing import Any

DAY = 86_400_000
T0 = 1_780_272_000_000  # 2026-06-01T00:00:00Z
HOUR = 3_600_000
Rows = list[dict[str, Any]]


def at(day: float) -> str:
    """A time as the comparison writes it; day 0 is 2026-06-01."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp((T0 + day * DAY) / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _cluster(name: str, revision: int, known: float, **more: Any) -> dict[str, Any]:
    return {
        "cluster_id": name,
        "revision": revision,
        "window_start": T0,
        "window_end": T0 + 28 * DAY,
        "status": "open",
        "severity": "medium",
        "score": 1.0,
        "p_value": 0.001,
        "first_seen": T0,
        "last_seen": T0 + int(known * DAY),
        "first_alert": T0 + int(known * DAY),
        "account_count": 2,
        "request_count": revision,
        "bundle_version": "b1",
        "run_id": "r1",
    } | more


def _member(name: str, revision: int, account: str, n: int, **more: Any) -> dict[str, Any]:
    return {
        "cluster_id": name,
        "revision": revision,
        "account_id": account,
        "since": T0,
        "request_count": n,
        "p_value": 0.01,
        "run_id": "r1",
        "window_start": T0,
    } | more


def _alert(name: str, revision: int, cluster: str, step: str, when: int, **more: Any) -> Any:
    return {
        "alert_id": name, "revision": revision, "cluster_id": cluster, "step": step,
        "state": "open", "severity": "medium", "changed_at": when,
        "policy": "coordinated-campaign", **more,
    }  # fmt: skip


def _session(name: str, revision: int, key: str, start: float, end: float, **more: Any) -> Any:
    return {
        "session_id": name,
        "revision": revision,
        "level": "session_account",
        "key_kind": "account",
        "key": key,
        "session_start": T0 + int(start * DAY),
        "session_end": T0 + int(end * DAY),
        "peer_group": "api|business#1",
        "request_count": revision,
        "score": 0.5,
        "p_value": 0.5,
        "bundle_version": "b1",
        "run_id": "r1",
    } | more


def _features(*values: tuple[str, float, float]) -> Rows:
    return [
        {"name": name, "value": value, "normal_low": 1.0, "normal_high": 3.0, "z": z}
        for name, value, z in values
    ]


def _asked(name: str, requests: int, share: float, taken: bool | None) -> dict[str, Any]:
    return {
        "name": name, "requests": requests, "share": share, "lift": 2.0, "covered": 0.5,
        "expected": 0.25, "taken": taken,
    }  # fmt: skip


# c-1 grows over three days and is graver on the last; c-2 is resolved into it; c-3 is new, was
# found with another control, and its account a2 was in c-1 before; c-4 was dismissed by staff.
ROWS: dict[str, Rows] = {
    "flagged_clusters": [
        _cluster("c-1", 100, 0.5, exposure_usd=10.0, q_value=0.1),
        _cluster("c-1", 200, 1.5, exposure_usd=20.0, q_value=0.1, status="growing"),
        _cluster(
            "c-1", 400, 3.0, exposure_usd=40.0, q_value=0.1, severity="high", account_count=3,
            status="growing",
            capabilities=[_asked("code", 300, 0.75, True), _asked("law", 100, 0.25, False)],
            tactics=["drip"],
            reasons=[{"feature": "breadth", "value": 5.0, "normal_low": 1.0, "normal_high": 2.0,
                      "z": 6.0, "contribution": 1.5, "words": "broad"}],
            links=[{"kind": "payment", "shared": 1, "accounts": 2}],
        ),
        _cluster("c-2", 50, 0.25, exposure_usd=5.0, q_value=0.1),
        _cluster("c-2", 60, 2.5, exposure_usd=6.0, q_value=0.1, status="resolved",
                 merged_into="c-1", severity="low"),
        _cluster("c-3", 80, 2.75, first_seen=T0 + 2 * DAY, exposure_usd=8.0, severity="critical",
                 capabilities=[_asked("code", 80, 1.0, None)]),
        _cluster("c-4", 30, 0.75, q_value=0.2),
    ],
    "cluster_members": [
        _member("c-1", 100, "a1", 60), _member("c-1", 100, "a2", 40),
        _member("c-1", 200, "a1", 120), _member("c-1", 200, "a2", 80),
        _member("c-1", 400, "a1", 200), _member("c-1", 400, "a3", 100, p_value=0.002),
        _member("c-1", 400, "a4", 100),
        _member("c-2", 50, "a4", 25, since=T0 + HOUR), _member("c-2", 50, "a5", 25),
        _member("c-2", 60, "a4", 30, since=T0 + HOUR), _member("c-2", 60, "a5", 30),
        _member("c-3", 80, "a2", 60, since=T0 + 2 * DAY),
        _member("c-3", 80, "a6", 20, since=T0 + 2 * DAY),
        _member("c-4", 30, "a7", 15, since=T0 + 3 * HOUR),
        _member("c-4", 30, "a8", 15, since=T0 + 3 * HOUR),
    ],
    "session_scores": [
        _session("s1", 10, "a1", 0.0, 0.1, features=_features(("breadth", 9.0, 40.0))),
        _session("s1", 20, "a1", 0.0, 0.2,
                 features=_features(("breadth", 5.0, 12.0), ("speed", 2.0, 0.0))),
        _session("s2", 4, "a2", 0.5, 0.6, features=_features(("breadth", 2.0, 1.0))),
        # a late event joined s3 to s4, whose newer row holds it
        _session("s3", 3, "a3", 1.0, 1.1),
        _session("s4", 9, "a3", 1.0, 1.25),
    ],
    "run_health": [
        {"run_id": "r1", "metric": "read", "value": 40},
        {"run_id": "r1", "metric": "scored", "value": 33},
        {"run_id": "r1", "metric": "refused", "value": 4},
        {"run_id": "r1", "metric": "refused_late", "value": 1},
        {"run_id": "r1", "metric": "duplicate", "value": 3},
        {"run_id": "r2", "metric": "read", "value": 5},
    ],
    "dispositions": [
        {"cluster_id": "c-1", "decision": "watch", "decided_by": "ann", "decided_at": T0 + DAY},
        {"cluster_id": "c-1", "decision": "confirm", "decided_by": "bob", "reason": "same card",
         "decided_at": T0 + 3 * DAY + HOUR},
        {"cluster_id": "c-4", "decision": "dismiss", "decided_by": "ann",
         "decided_at": T0 + 2 * DAY},
        {"cluster_id": "c-3", "decision": "confirm", "decided_by": "ann",
         "decided_at": T0 + 2 * DAY},
        {"cluster_id": "c-3", "decision": "withdraw", "decided_by": "ann",
         "decided_at": T0 + 3 * DAY, "disposition_id": f"c-3/{T0 + 2 * DAY}", "revision": 2},
    ],
    "alerts": [
        _alert("l-1", 1, "c-1", "opened", T0 + HOUR),
        _alert("l-1", 2, "c-1", "raised", T0 + DAY, severity="high"),
        _alert("l-3", 1, "c-3", "opened", T0 + 2 * DAY, policy="large-campaign"),
        _alert("l-4", 1, "c-4", "opened", T0 + 3 * HOUR, policy="rehearsal", namespace="drill"),
        # in the week after, and the storm that it was told in
        _alert("l-5", 1, "c-2", "opened", T0 + 8 * DAY, storm_id="s-1"),
        _alert("s-1", 1, "s-1", "opened", T0 + 8 * DAY, storm_id="s-1"),
    ],
    "dead_letter_replays": [
        {"source": "live", "partition": 0, "offset": 0, "replay_id": "r-1", "status": "replayed",
         "replayed_at": T0 + DAY, "to_source": "live", "to_partition": 0, "to_offset": 1},
    ],
    "sightings": [
        {"sighting_id": "x1", "indicator_id": "i1", "cluster_id": "c-3", "account_id": "a6",
         "first_seen": T0 + 2 * DAY + HOUR, "last_seen": T0 + 3 * DAY, "match_count": 7},
    ],
    "dead_letters": [
        {"source": "live", "partition": 0, "offset": n, "reason": "not_json", "run_id": "r1",
         "event_time": T0, "raw_bytes": 100, "raw": b"xx" if n else None}
        for n in range(2)
    ],
}  # fmt: skip

# View (or call of one), what to ask of it, and the rows that it must give, in their order.
EXPECTED: list[tuple[str, str, list[tuple[Any, ...]]]] = [
    ("current_sessions", "session_id, revision", [("s1", 20), ("s2", 4), ("s4", 9)]),
    (
        "current_clusters",
        "cluster_id, revision, status",
        [("c-1", 400, "growing"), ("c-2", 60, "resolved"), ("c-3", 80, "open"),
         ("c-4", 30, "open")],
    ),
    (
        "cluster_windows",
        "cluster_id, window_start, revision",
        [("c-1", at(0), 400), ("c-2", at(0), 60), ("c-3", at(0), 80), ("c-4", at(0), 30)],
    ),
    (
        "current_alerts",
        "alert_id, revision, severity",
        [("l-1", 2, "high"), ("l-3", 1, "medium"), ("l-4", 1, "medium"), ("l-5", 1, "medium"),
         ("s-1", 1, "medium")],
    ),
    (
        # That of c-3 was taken back; it has no id, as those of older versions.
        "current_verdicts",
        "cluster_id, decision, decided_at",
        [("c-1", "confirm", at(3 + 1 / 24)), ("c-4", "dismiss", at(2))],
    ),
    (
        # The letter that was written to the topic is refused there once more.
        "dead_letter_status",
        "source, status, replay_reason, to_offset",
        [("live", "still_refused", "not_json", 1), ("live", "open", None, None)],
    ),
    ("run_balance", "*", [("r1", 40, 33, 4, 3, 1, 0), ("r2", 5, 0, 0, 0, 0, 5)]),
    (
        "campaigns_over_time",
        "day, cluster_id, severity, status, account_count, new_accounts, request_count, "
        "new_requests, exposure_usd, new_exposure_usd",
        [
            ("2026-06-01", "c-1", "medium", "open", 2, 2, 100, 100, 10.0, 10.0),
            ("2026-06-01", "c-2", "medium", "open", 2, 2, 50, 50, 5.0, 5.0),
            ("2026-06-01", "c-4", "medium", "open", 2, 2, 30, 30, 0.0, 0.0),
            ("2026-06-02", "c-1", "medium", "growing", 2, 0, 200, 100, 20.0, 10.0),
            ("2026-06-03", "c-2", "low", "resolved", 2, 0, 60, 10, 6.0, 1.0),
            ("2026-06-03", "c-3", "critical", "open", 2, 2, 80, 80, 8.0, 8.0),
            ("2026-06-04", "c-1", "high", "growing", 3, 1, 400, 200, 40.0, 20.0),
        ],
    ),
    (
        "accounts_by_exposure",
        "account_id, exposure_usd, request_count, cluster_count, latest_cluster_id, severity, "
        "p_value, since",
        [
            ("a1", 20.0, 200, 1, "c-1", "high", 0.01, at(0)),
            ("a2", 6.0, 60, 1, "c-3", "critical", 0.01, at(2)),
            ("a3", 10.0, 100, 1, "c-1", "high", 0.002, at(0)),
            ("a4", 10.0, 100, 1, "c-1", "high", 0.01, at(0)),
            ("a6", 2.0, 20, 1, "c-3", "critical", 0.01, at(2)),
            # c-4, of a7 and a8, was dismissed
        ],
    ),
    (
        "precision_by_policy",
        "policy, bundle_version, severity, flagged, confirmed, dismissed, permitted, watched, "
        "undecided, precision_rate, ROUND(precision_low, 4), ROUND(precision_high, 4)",
        [
            # Wilson's interval of 1 in 1 and of 0 in 1, as in any table of it
            ("coordinated-campaign", "b1", "high", 1, 1, 0, 0, 0, 0, 1.0, 0.2065, 1.0),
            ("large-campaign", "b1", "critical", 1, 0, 0, 0, 0, 1, None, None, None),
            ("none", "b1", "medium", 1, 0, 1, 0, 0, 0, 0.0, 0.0, 0.7935),
        ],
    ),
    (
        "precision_over_time",
        "week, policy, alerts, confirmed, dismissed, permitted, watched, undecided, "
        "precision_rate, ROUND(precision_low, 4), ROUND(precision_high, 4)",
        [
            ("2026-06-01", "coordinated-campaign", 1, 1, 0, 0, 0, 0, 1.0, 0.2065, 1.0),
            ("2026-06-01", "large-campaign", 1, 0, 0, 0, 0, 1, None, None, None),
            ("2026-06-08", "coordinated-campaign", 1, 0, 0, 0, 0, 1, None, None, None),
        ],
    ),
    (
        "changes_since_yesterday",  # from the end of 2026-06-02 to that of 2026-06-03
        "*",
        [
            ("c-1", "severity", "medium", "high", 2, 3, 200, 400, 20.0, at(3)),
            ("c-2", "resolved", "medium", "low", 2, 2, 50, 60, 1.0, at(2.5)),
            ("c-3", "new", None, "critical", 0, 2, 0, 80, 8.0, at(2.75)),
        ],
    ),
    (
        "feature_drift",
        "*",
        [
            ("2026-06-01", "session_account", "api|business#1", "breadth", "b1", 2, 3.5, 5.5, 0.5),
            ("2026-06-01", "session_account", "api|business#1", "speed", "b1", 1, 2.0, 0.0, 0.0),
        ],
    ),
    (
        "pipeline_volume",
        "run_id, table_name, row_count, things, ROUND(rows_per_thing, 3), "
        "ROUND(mib * 1048576), ROUND(usd_to_write * 1e9, 2), ROUND(usd_to_keep * 1e9, 2), "
        "ROUND(bytes_per_record, 3)",
        [
            ("r1", "cluster_members", 15, 10, 1.5, 2100.0, 48.89, 39.12, 52.5),
            ("r1", "dead_letters", 2, 2, 1.0, 560.0, 13.04, 10.43, 14.0),
            ("r1", "flagged_clusters", 7, 4, 1.75, 2450.0, 57.04, 45.63, 61.25),
            ("r1", "session_scores", 5, 4, 1.25, 1508.0, 35.11, 28.09, 37.7),
        ],
    ),
    ("cluster_reasons", "*", [("c-1", "high", "breadth", 5.0, 1.0, 2.0, 6.0, 1.5, "broad")]),
    (
        "cluster_links",
        "cluster_id, kind, shared, accounts, account_count, ROUND(share, 3)",
        [("c-1", "payment", 1, 2, 3, 0.667)],
    ),
    (
        "cluster_life",
        "cluster_id, moment, happened, detail, revision, severity, account_count, request_count",
        [
            ("c-1", at(0), "began", "first request of a member", None, None, None, None),
            ("c-1", at(0.5), "flagged", "", 100, "medium", 2, 100),
            ("c-1", at(1), "decision", "watch by ann", None, None, None, None),
            ("c-1", at(1.5), "grew", "", 200, "medium", 2, 200),
            ("c-1", at(3), "severity", "from medium to high", 400, "high", 3, 400),
            ("c-1", at(3 + 1 / 24), "decision", "confirm by bob: same card",
             None, None, None, None),
            ("c-2", at(0), "began", "first request of a member", None, None, None, None),
            ("c-2", at(0.25), "flagged", "", 50, "medium", 2, 50),
            ("c-2", at(2.5), "joined", "to c-1", 60, "low", 2, 60),
            ("c-3", at(2), "began", "first request of a member", None, None, None, None),
            ("c-3", at(2), "decision", "confirm by ann", None, None, None, None),
            ("c-3", at(2 + 1 / 24), "sighting", "of indicator i1", None, None, None, 7),
            ("c-3", at(2.75), "flagged", "", 80, "critical", 2, 80),
            ("c-3", at(3), "decision", "withdraw by ann", None, None, None, None),
            ("c-4", at(0), "began", "first request of a member", None, None, None, None),
            ("c-4", at(0.75), "flagged", "", 30, "medium", 2, 30),
            ("c-4", at(2), "decision", "dismiss by ann", None, None, None, None),
        ],
    ),
    (
        "shared_accounts",
        "*",
        [("c-1", "c-2", 1, 4, 2, 0.5, "a4"), ("c-1", "c-3", 1, 4, 2, 0.5, "a2")],
    ),
    (
        "capabilities_taken",
        "*",
        [
            ("code", "c-1", at(0), "high", True, 300, 0.75, 2.0, 0.5, 0.25, 30.0),
            ("code", "c-3", at(0), "critical", False, 80, 1.0, 2.0, 0.5, 0.25, 8.0),
            ("law", "c-1", at(0), "high", False, 100, 0.25, 2.0, 0.5, 0.25, 10.0),
        ],
    ),
    (
        "clusters_as_of(TIMESTAMP '2026-06-02 18:00:00+00')",
        "cluster_id, revision, status",
        [("c-1", 200, "growing"), ("c-2", 50, "open"), ("c-4", 30, "open")],
    ),
    (
        "members_as_of(TIMESTAMP '2026-06-03 18:00:00+00')",
        "cluster_id, revision, account_id",
        [("c-1", 200, "a1"), ("c-1", 200, "a2"), ("c-3", 80, "a2"), ("c-3", 80, "a6"),
         ("c-4", 30, "a7"), ("c-4", 30, "a8")],
    ),
    (
        "sessions_as_of(TIMESTAMP '2026-06-02 03:00:00+00')",
        "session_id, revision",
        [("s1", 20), ("s2", 4), ("s3", 3)],
    ),
]  # fmt: skip


def plain(value: Any) -> Any:
    """A value as `EXPECTED` writes it, whatever engine it comes from."""
    from datetime import UTC, date, datetime

    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, date):
        return value.isoformat()
    return round(value, 9) if isinstance(value, float) else value


def in_order(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows by their plain values; what is empty comes first."""
    made = [tuple(map(plain, row)) for row in rows]
    return sorted(made, key=lambda row: [(v is not None, str(type(v)), v) for v in row])
