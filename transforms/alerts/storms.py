"""Storms: when a policy opens more alerts than people can take, the rest is told in one message.

The message of a storm has an alert id of its own, so a page of it is one page, however many alerts
there are. It is told again when the storm has doubled or holds something graver, and once when all
of it is over.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from transforms.alerts.book import Book
from transforms.alerts.life import Step
from transforms.alerts.notice import storm_notice
from transforms.alerts.paging import Policy
from transforms.alerts.policy import SEVERITIES
from transforms.alerts.rules import Rules

_DAY_MS, _MINUTE_MS = 86_400_000, 60_000


class Storms:
    """The storms of one look; lives inside a transaction of the book."""

    def __init__(self, book: Book, rules: Rules, now_ms: int) -> None:
        self._book = book
        self._rules = rules
        self._now_ms = now_ms
        self._touched: dict[str, dict[str, Any]] = {}

    def of(self, step: Step, policy: Policy | None) -> str:
        """The storm that a step is told in; "" for one that is told by itself."""
        alert = step.alert
        if step.kind == "opened":
            return self._join(step, policy) if policy is not None else ""
        storm = self._state(alert.storm_id) if alert.storm_id else None
        if storm is None:  # or the book that had it was lost
            return ""
        if step.kind == "raised" and alert.observation.severity == "critical":
            storm["live"] -= 1  # what became critical must not hide among the others
            return ""
        if step.kind == "resolved":
            storm["live"] -= 1
        elif step.kind == "raised":
            storm["severity"] = max(
                storm["severity"], alert.observation.severity, key=SEVERITIES.index
            )
        return alert.storm_id

    def tell(self) -> list[dict[str, Any]]:
        """Writes down what became of the storms; returns rows of the table `alerts`."""
        return [row for name, storm in self._touched.items() for row in self._tell(name, storm)]

    def _join(self, step: Step, policy: Policy) -> str:
        book, now_ms = self._book, self._now_ms
        window_ms = policy.budget.storm_minutes * _MINUTE_MS
        soon = book.opened_since(policy.name, now_ms - window_ms)
        today = book.opened_since(policy.name, now_ms - _DAY_MS)
        if soon < policy.budget.storm_alerts and today < policy.budget.alerts_per_day:
            return ""
        if today >= policy.budget.alerts_per_day:
            window_ms = _DAY_MS  # till there is room again, which may be so long
        severity = step.alert.observation.severity
        name = book.fact(f"storm/{policy.name}")
        storm = self._state(name) if name else None
        # One of an hour takes in nothing of the evening, because the day's budget is spent by then;
        # and one of a day nothing of the next, when it has room.
        lasts_ms = min(window_ms, storm.get("lasts_ms", window_ms)) if storm else window_ms
        if storm is None or not storm["live"] or now_ms - storm["joined"] > lasts_ms:
            text = f"{self._rules.namespace}\x1f{policy.name}\x1f{now_ms}"
            name = f"s-{blake2b(text.encode(), digest_size=8).hexdigest()}"
            storm = {
                "policy": policy.name, "began": now_ms, "size": 0, "live": 0, "told": 0,
                "severity": severity, "told_severity": "", "revision": 0, "channels": [],
                "lasts_ms": window_ms,
                "why": (
                    f"more than {policy.budget.storm_alerts} in "
                    f"{policy.budget.storm_minutes} minutes"
                    if soon >= policy.budget.storm_alerts
                    else f"more than {policy.budget.alerts_per_day} in a day, its budget"
                ),
            }  # fmt: skip
            book.remember(f"storm/{policy.name}", name)
            self._touched[name] = storm
        storm |= {
            "size": storm["size"] + 1,
            "live": storm["live"] + 1,
            "joined": now_ms,
            "severity": max(storm["severity"], severity, key=SEVERITIES.index),
            "usd": storm.get("usd", 0.0) + step.alert.observation.exposure_usd,
        }
        self._touched[name] = storm
        return str(name)

    def _state(self, name: str) -> dict[str, Any] | None:
        if name not in self._touched:
            storm = self._book.fact(f"of/{name}")
            if storm is None:
                return None
            self._touched[name] = storm
        return self._touched[name]

    def _tell(self, name: str, storm: dict[str, Any]) -> list[dict[str, Any]]:
        rules, now_ms = self._rules, self._now_ms
        policy = rules.policies.named(storm["policy"])
        over = storm["live"] <= 0
        graver = storm["severity"] != storm["told_severity"]
        news = storm["size"] >= 2 * max(storm["told"], 1) or graver
        step = (
            "opened" if not storm["told"] else "resolved" if over else "raised" if graver
            else "updated"
        )  # fmt: skip
        if policy is None or not (news or over) or storm.get("over"):
            self._book.remember(f"of/{name}", storm)
            return []
        routed = rules.channels.of(policy.audience, storm["severity"])
        heard = [c for c in storm["channels"] if c in rules.channels.channels]
        channels = heard if step == "resolved" else list(dict.fromkeys([*routed, *heard]))
        if over:
            never = self._book.outbox.drop_unsent(name, now_ms)
            channels = [channel for channel in channels if channel not in never]
        storm |= {
            "revision": storm["revision"] + 1,
            "told": storm["size"],
            "told_severity": storm["severity"],
            "channels": channels,
            "over": over,
        }
        state = "resolved" if over else "open"
        message = storm_notice(
            name, step, state, policy, storm["severity"], storm["size"],
            storm.get("usd", 0.0), storm["why"], now_ms,
            revision=storm["revision"], case_url=rules.case_url, runbook_url=rules.runbook_url,
            namespace=rules.namespace,
        )  # fmt: skip
        row = {
            "alert_id": name, "revision": storm["revision"], "cluster_id": name, "step": step,
            "state": state, "severity": storm["severity"], "changed_at": now_ms,
            "policy": policy.name, "policy_version": policy.version, "reason": message["reason"],
            "opened_at": storm["began"], "storm_id": name, "channels": channels,
            "namespace": rules.namespace or None,
        }  # fmt: skip
        self._book.add_step(row)
        not_before = now_ms if over else rules.channels.not_before(storm["severity"], now_ms)
        for channel in channels:
            key = f"{name}/{storm['revision']}/{channel}"
            if not over:
                self._book.outbox.overtake(name, channel, now_ms, not_before)
            self._book.outbox.post(key, channel, message, now_ms, not_before)
        self._book.remember(f"of/{name}", storm)
        return [row]
