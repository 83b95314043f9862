"""What a message says: in a minute somebody who was asleep must know what is happening, how sure we
are, what it costs, what to check, and where to look. No prompt text, no fingerprints, no accounts.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from transforms.alerts.life import Observation, Step
from transforms.alerts.paging import Policy

_TACTICS = 3
_CAPABILITIES = 3
_SHARED = {
    "payment": "a payment method",
    "credential": "a credential",
    "organization": "an organization",
    "network": "a network",
    "client": "a client",
    "system_prompt": "a system prompt",
    "prefix_scaffold": "wording",
    "suffix_scaffold": "wording",
    "content": "rare questions",
    "synchrony": "the minutes of their work",
    "hand_over": "hand-overs",
}
_LONGEST_REASON = 300  # people may write thousands of letters; the case has them


def about(row: Mapping[str, Any]) -> dict[str, Any]:
    """What messages need of a row of `flagged_clusters`, beyond an `Observation`."""
    return {
        "tactics": list(row.get("tactics") or ())[:_TACTICS],
        "capabilities": [str(c["name"]) for c in row.get("capabilities") or () if c["taken"]][
            :_CAPABILITIES
        ],
        "shared": [
            str(link["kind"]) for link in row.get("links") or () if (link["shared"] or 0) > 0
        ][:_TACTICS],
        "first_seen": row.get("first_seen"),
        "last_seen": row.get("last_seen"),
        "severity_reason": row.get("severity_reason") or "",
    }


def notice(
    step: Step,
    alert_id: str,
    what: Mapping[str, Any],
    policy: Policy | None,
    now_ms: int,
    *,
    case_url: str = "",
    runbook_url: str = "",
    namespace: str = "",
) -> dict[str, Any]:
    """A message about a step, as plain values; channels give it their form.

    Args:
      step: that is told.
      alert_id: of its alert.
      what: as `about` gives it.
      policy: that made the alert; None where it is gone.
      case_url, runbook_url: templates of links, with {cluster_id}, {alert_id} and {runbook}.
      namespace: "drill" for a drill.
    """
    news, state = step.alert.observation, step.alert.state
    names = {
        "cluster_id": quote(news.cluster_id, safe=""),
        "alert_id": alert_id,
        "runbook": policy.runbook if policy else "",
    }
    title = f"{_headline(step)}: {sentence(news, what)}"
    if namespace:
        title = f"[{namespace.upper()}] {title}"
    sure, cost = how_sure(news), f"{dollars(news.exposure_usd)} at list price so far"
    return {
        "alert_id": alert_id,
        "revision": step.alert.revision,
        "step": step.kind,
        "state": state,
        "reason": textwrap.shorten(step.reason, _LONGEST_REASON, placeholder=" …"),
        "severity": news.severity,
        "cluster_id": news.cluster_id,
        "policy": news.policy,
        "title": title,
        "sure": sure,
        "cost": cost,
        "check": list(policy.check) if policy and state != "resolved" else [],
        "case_url": case_url.format(**names) if case_url else "",
        "runbook_url": runbook_url.format(**names) if runbook_url and policy else "",
        "accounts": news.account_count,
        "requests": news.request_count,
        "exposure_usd": round(news.exposure_usd, 2),
        "tactics": list(what.get("tactics", ())),
        "first_seen": _time(what.get("first_seen")),
        "last_seen": _time(what.get("last_seen")),
        "at": _time(now_ms),
        "namespace": namespace,
    }


def storm_notice(
    storm_id: str,
    step: str,
    state: str,
    policy: Policy,
    severity: str,
    size: int,
    why: str,
    now_ms: int,
    *,
    revision: int,
    case_url: str = "",
    runbook_url: str = "",
    namespace: str = "",
) -> dict[str, Any]:
    """A message about many alerts at once; arguments as of `notice`."""
    names = {"cluster_id": "", "alert_id": storm_id, "runbook": policy.runbook}
    title = f"Storm of {policy.name}: {size:,} more alerts, told together"
    if state == "resolved":
        title = f"Over: the storm of {policy.name}, {size:,} alerts"
    return {
        "alert_id": storm_id,
        "revision": revision,
        "step": step,
        "state": state,
        "reason": why,
        "severity": severity,
        "cluster_id": storm_id,
        "policy": policy.name,
        "title": f"[{namespace.upper()}] {title}" if namespace else title,
        "sure": "Look whether something changed at our end: a new bundle, settings, a new region.",
        "cost": why,
        "check": list(policy.check) if state != "resolved" else [],
        "case_url": case_url.format(**names) if case_url else "",
        "runbook_url": runbook_url.format(**names) if runbook_url else "",
        "accounts": 0,
        "requests": 0,
        "exposure_usd": 0.0,
        "tactics": [],
        "first_seen": "",
        "last_seen": "",
        "at": _time(now_ms),
        "namespace": namespace,
    }


def sentence(news: Observation, what: Mapping[str, Any]) -> str:
    """What is happening, in one sentence."""
    who = "1 account" if news.account_count == 1 else f"{news.account_count:,} accounts"
    taking = " and ".join(name.replace("_", " ") for name in what.get("capabilities", ()))
    kinds = (_SHARED.get(name, name.replace("_", " ")) for name in what.get("shared", ()))
    shared = ", ".join(dict.fromkeys(kinds))
    asked = f"asked for {taking}" if taking else "asked broadly"
    text = f"{who} {asked} in {news.request_count:,} requests"
    return text + (f", sharing {shared}" if shared and news.account_count > 1 else "")


def dollars(usd: float) -> str:
    """An amount; cents only where they matter."""
    return f"${usd:,.2f}" if usd < 10 else f"${usd:,.0f}"


def how_sure(news: Observation) -> str:
    """What the numbers say of chance."""
    parts = []
    if news.p_value is not None:
        odds = round(1 / max(news.p_value, 1e-9))
        parts.append(f"Chance alone does this to 1 in {odds:,} of its kind")
    if news.q_value is not None:
        parts.append(f"of findings like this at most {news.q_value:.0%} are false")
    return "; ".join(parts) + "." if parts else "No p-value."


def body(message: Mapping[str, Any]) -> list[str]:
    """The lines below the title, for channels of plain text."""
    why, cost = str(message["reason"]), str(message["cost"])
    # Both are empty where they named an account that is to be forgotten (`forgetting`).
    lines = [f"{why[:1].upper()}{why[1:].rstrip('.')}."] if why not in ("", "flagged") else []
    lines += [str(message["sure"]), *([cost.rstrip(".") + "."] if cost else [])]
    lines += [f"- {line}" for line in message["check"]]
    if message["case_url"]:
        lines.append(f"Case: {message['case_url']}")
    if message["runbook_url"]:
        lines.append(f"Runbook: {message['runbook_url']}")
    if message["namespace"]:
        lines.append("This is a drill. Nothing is happening to customers.")
    return lines


def _headline(step: Step) -> str:
    severity = step.alert.observation.severity
    return {
        "opened": severity.capitalize(),
        "raised": f"Now {severity}",
        "updated": f"Growing ({severity})",
        "acknowledged": "In hand",
        "resolved": "Over",
    }[step.kind]


def _time(ms: Any) -> str:
    if ms is None:
        return ""
    return datetime.fromtimestamp(int(ms) / 1000, UTC).isoformat().replace("+00:00", "Z")
