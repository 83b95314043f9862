"""PagerDuty, Events API v2: one incident for each alert, by its `dedup_key`."""

from __future__ import annotations

from typing import Any

import httpx
import orjson

from transforms.alerts.channels import Notice, Thread
from transforms.alerts.channels.http import LIMITS, post
from transforms.alerts.notice import DRILL, links, you_can

_SEVERITY = {"low": "info", "medium": "warning", "high": "error", "critical": "critical"}
_LONGEST_SUMMARY = 1_024


class PagerDuty:
    """See the module. A repeat changes nothing: the incident of the key is there already."""

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
        event: dict[str, Any] = {
            "routing_key": self._routing_key,
            "event_action": _action(notice),
            "dedup_key": notice["alert_id"],
        }
        if event["event_action"] == "trigger":
            event |= {
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
        post(self._url, orjson.dumps(event), {}, "PagerDuty", self._limits)
        return None


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
