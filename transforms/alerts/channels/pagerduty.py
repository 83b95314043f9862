"""PagerDuty, Events API v2: one incident at a time for each alert, by its `dedup_key`.

What comes under the key of an incident that is there notifies nobody, and of one that somebody has
acknowledged neither. So what people must be woken by anew, an alert that became graver, and one
that is in hand no more, is an incident of its own, and the one before it is resolved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import orjson

from transforms.alerts.channels import Notice, Thread
from transforms.alerts.channels.http import LIMITS, post
from transforms.alerts.notice import DRILL, links, you_can

_SEVERITY = {"low": "info", "medium": "warning", "high": "error", "critical": "critical"}
_LONGEST_SUMMARY = 1_024


class PagerDuty:
    """See the module. A repeat changes nothing: the incident of the key is there already.

    An alert's thread is the `dedup_key` of its newest incident, and whether we acknowledged it.
    """

    def __init__(self, url: str, routing_key: str, limits: httpx.Timeout = LIMITS) -> None:
        """Args:
        url: of the service, without a path.
        routing_key: of the integration.
        """
        self._url = f"{url.rstrip('/')}/v2/enqueue"
        self._routing_key = routing_key
        self._limits = limits

    def tell(self, key: str, notice: Notice, thread: Thread | None) -> Thread | None:
        """As `Channel.tell`."""
        so_far = thread or {}
        before = str(so_far.get("dedup_key", notice["alert_id"]))
        action = _action(notice)
        anew = notice["step"] == "raised" or (
            action == "trigger" and notice["state"] == "open" and so_far.get("acknowledged", False)
        )
        # The same at every try, since the step is.
        incident = f"{notice['alert_id']}/{notice['revision']}" if anew else before
        more: dict[str, Any] = {}
        if action == "trigger":
            more = {
                "client": "distilwatch",
                "payload": {
                    "summary": str(notice["title"])[:_LONGEST_SUMMARY],
                    "source": "distilwatch",
                    "severity": _SEVERITY[notice["severity"]],
                    "timestamp": notice["at"],
                    "component": notice["cluster_id"],
                    "group": notice["policy"],
                    "class": notice["step"],
                    "custom_details": _details(notice),
                },
                "links": [{"href": href, "text": text} for text, href in links(notice)],
            }
        self._post(action, incident, more)
        if anew:
            self._post("resolve", before)
        if anew or action == "acknowledge":
            return {"dedup_key": incident, "acknowledged": action == "acknowledge"}
        return None

    def _post(self, action: str, incident: str, more: Mapping[str, Any] | None = None) -> None:
        event = {
            "routing_key": self._routing_key,
            "event_action": action,
            "dedup_key": incident,
            **(more or {}),
        }
        post(self._url, orjson.dumps(event), {}, "PagerDuty", self._limits)


def _details(notice: Notice) -> dict[str, Any]:
    """What the other channels say in lines, as far as there is something to say."""
    details = {
        "drill": DRILL if notice["namespace"] else "",
        "why now": "" if notice["reason"] == "flagged" else notice["reason"],
        "what": notice.get("what", ""),
        "how sure": notice["sure"],
        "cost": notice["cost"],
        "unusual": notice.get("unusual", []),
        "check first": notice["check"],
        "you can": " ".join(you_can(notice)),
    }
    return {name: said for name, said in details.items() if said}


def _action(notice: Notice) -> str:
    if notice["step"] == "acknowledged":
        return "acknowledge"
    return "resolve" if notice["step"] == "resolved" else "trigger"
