"""What a message says: in a minute somebody who was asleep, and does not know the science, must
know what is happening, how sure we are, what it costs, what to check, and what they can do. No
prompt text, no fingerprints, no accounts.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from transforms.alerts.life import Observation, Step
from transforms.alerts.paging import Policy
from transforms.alerts.wording import IN_HAND, costs, how_sure, listed, suspicion
from transforms.scoring.explain import words_of

_TACTICS = 3
_CAPABILITIES = 3
_REASONS = 2
_HEADLINE = {
    "opened": "{}",
    "raised": "now {}",
    "updated": "growing ({})",
    "acknowledged": "in hand",
    "resolved": "over",
}
_STORM = (
    "So many at once are more often our fault than an attack. Look first whether something changed "
    "at our end: a new bundle, settings, a new region."
)
DRILL = "This is a drill. Nothing is happening to customers."
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
        "reasons": [words_of(reason) for reason in row.get("reasons") or ()][:_REASONS],
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
    feared = suspicion(
        news.account_count,
        what.get("shared", ()),
        what.get("tactics", ()),
        over=step.kind in _NO_MORE,
    )
    title = f"{_headline(step)}: {feared}"
    if namespace:
        title = f"[{namespace.upper()}] {title}"
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
        "what": sentence(news, what),
        "unusual": list(what.get("reasons", ())),
        "sure": how_sure(news.p_value, news.q_value, news.account_count),
        "cost": costs(
            news.exposure_usd,
            what.get("first_seen"),
            what.get("last_seen"),
            over=state == "resolved",
        ),
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
    usd: float,
    why: str,
    now_ms: int,
    *,
    revision: int,
    case_url: str = "",
    runbook_url: str = "",
    namespace: str = "",
) -> dict[str, Any]:
    """A message about many alerts at once.

    Args:
      size: alerts in it.
      usd: list price of what their clusters had taken when they were opened.
      why: it is one.
      step, state, policy, severity, now_ms, and what follows: as of `notice`.
    """
    names = {"cluster_id": "", "alert_id": storm_id, "runbook": policy.runbook}
    over = state == "resolved"
    title = f"{_HEADLINE[step].format(severity)}: " + (
        f"the storm of {size:,} alerts by policy {policy.name}"
        if over
        else f"a storm of {size:,} more alerts by policy {policy.name}, told together"
    )
    title = f"{title[:1].upper()}{title[1:]}"
    cost = costs(usd, None, None, over=True)
    if usd:  # what they take afterwards nobody adds up
        cost = f"{cost.rstrip('.')}, as they were opened."
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
        "what": "" if over else _STORM,
        "unusual": [],
        "sure": "",
        "cost": cost,
        "check": [] if over else list(policy.check),
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
    """What was asked, how much, and when, in one sentence."""
    taking = listed([str(name).replace("_", " ") for name in what.get("capabilities", ())])
    text = f"{news.request_count:,} requests"
    text += f", above all for {taking}" if taking else ", about many things"
    first, last = what.get("first_seen"), what.get("last_seen")
    if first is not None and last is not None:
        text += f", from {_minute(first)} to {_minute(last)} UTC"
    return f"{text}."


def body(message: Mapping[str, Any]) -> list[str]:
    """The lines below the title, for channels of plain text."""
    why = str(message["reason"])
    # Empty where it named an account that is to be forgotten (`forgetting`).
    lines = [f"{why[:1].upper()}{why[1:].rstrip('.')}."] if why not in ("", "flagged") else []
    for label, text in (
        ("", message.get("what")),  # one of an older version has none
        ("How sure", message["sure"] if message["state"] != "resolved" else ""),
        ("Cost", message["cost"]),
    ):
        if text:
            lines.append(f"{label}: {text}" if label else str(text))
    if message.get("unusual") and message["state"] != "resolved":
        lines.append("What is unusual:")
        lines += [f"- {line}" for line in message["unusual"]]
    if message["check"]:
        lines.append("Check first:")
        lines += [f"- {line}" for line in message["check"]]
    lines += [f"You can: {line}" for line in you_can(message)]
    lines += [f"{text}: {href}" for text, href in links(message)]
    if message["namespace"]:
        lines.append(DRILL)
    return lines


def links(message: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where to go on, with what is there."""
    there = "Case" if message.get("accounts", 1) else "Cases"
    found = [(there, message["case_url"]), ("Runbook", message["runbook_url"])]
    return [(text, href) for text, href in found if href]


def you_can(message: Mapping[str, Any]) -> list[str]:
    """What whoever is told can do; nothing where nothing is left to do."""
    if message["state"] == "resolved" or "accounts" not in message:
        return []
    if not message["accounts"]:  # a storm has no case
        return [
            "begin at the top of the queue, where the gravest are, and decide on each. Nothing is "
            "blocked by itself."
        ]
    if message["case_url"]:
        how = "on the case page"
    else:
        how = f"with `distilwatch alerts decide {message['cluster_id']} --as … --why … --output …`"
    return [f"confirm, dismiss, permit or watch it {how}. {IN_HAND}"]


def _headline(step: Step) -> str:
    head = _HEADLINE[step.kind].format(step.alert.observation.severity)
    return f"{head[:1].upper()}{head[1:]}"


_NO_MORE = ("acknowledged", "resolved")


def _minute(ms: Any) -> str:
    return datetime.fromtimestamp(int(ms) / 1000, UTC).strftime("%-d %b %H:%M")


def _time(ms: Any) -> str:
    if ms is None:
        return ""
    return datetime.fromtimestamp(int(ms) / 1000, UTC).isoformat().replace("+00:00", "Z")
