"""Slack: a bot that keeps each alert in one thread, or an incoming webhook without threads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import httpx
import orjson

from transforms.alerts.channels import Notice, Refused, Thread, TryLater
from transforms.alerts.channels.http import LIMITS, post, retry_after_ms
from transforms.alerts.notice import body

_COLOURS = {"low": "#5b7083", "medium": "#b58900", "high": "#cb4b16", "critical": "#b3152a"}
_OVER = "#2e7d32"
_LONGEST_TEXT = 3_000
_PASSING = ("ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable",
            "request_timeout", "team_added_to_org")  # fmt: skip


class SlackWebhook:
    """An incoming webhook; its address is the secret."""

    def __init__(self, url: str, limits: httpx.Timeout = LIMITS) -> None:
        self._url = url
        self._limits = limits

    def tell(self, key: str, notice: Notice, thread: Thread | None) -> Thread | None:
        """As `Channel.tell`."""
        post(self._url, orjson.dumps(_form(notice)), {}, "Slack", self._limits)
        return None


class SlackBot:
    """A bot with `chat:write`: the first message of an alert begins a thread, which later steps go
    on; those that are grave are shown in the channel as well."""

    def __init__(self, url: str, token: str, channel: str, limits: httpx.Timeout = LIMITS) -> None:
        """Args:
        url: of Slack's API.
        token: of the bot.
        channel: id of the channel.
        """
        self._url = f"{url.rstrip('/')}/chat.postMessage"
        self._token = token
        self._channel = channel
        self._limits = limits

    def tell(self, key: str, notice: Notice, thread: Thread | None) -> Thread | None:
        """As `Channel.tell`; the key is in the message's metadata."""
        message: dict[str, Any] = {
            "channel": self._channel,
            "metadata": {
                "event_type": "distilwatch_alert",
                "event_payload": {"key": key, "alert_id": notice["alert_id"]},
            },
            **_form(notice),
        }
        if thread is not None:
            message |= {
                "thread_ts": thread["ts"],
                "reply_broadcast": notice["step"] in ("raised", "resolved"),
            }
        headers = {"Authorization": f"Bearer {self._token}"}
        answer = post(self._url, orjson.dumps(message), headers, "Slack", self._limits)
        try:
            said = answer.json()
        except ValueError:
            raise TryLater("Slack answered something that is not JSON") from None
        if said.get("ok") is True:
            return {"ts": str(said["ts"])} if thread is None else None
        error = str(said.get("error", "unknown"))
        if error in _PASSING:
            raise TryLater(f"Slack said {error}", retry_after_ms(answer))
        raise Refused(f"Slack said {error}")


def _form(notice: Notice) -> dict[str, Any]:
    colour = _OVER if notice["state"] == "resolved" else _COLOURS[notice["severity"]]
    title, *lines = (_escaped(line) for line in (str(notice["title"]), *body(notice)))
    # As the text of an attachment Slack would fold all but the first lines.
    blocks = [
        {"type": "section", "expand": True, "text": {"type": "mrkdwn", "text": text}}
        for text in _in_parts(lines)
    ]
    return {
        "text": title,
        "attachments": [{"color": colour, "fallback": title, "blocks": blocks}],
        "unfurl_links": False,
    }


def _escaped(said: str) -> str:
    """`&`, `<` and `>` steer Slack's markup."""
    return said.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _in_parts(lines: Iterable[str]) -> list[str]:
    """Lines together, in as few texts as a section of Slack's may hold."""
    parts: list[str] = []
    for line in lines:
        line = line[:_LONGEST_TEXT]
        if parts and len(parts[-1]) + 1 + len(line) <= _LONGEST_TEXT:
            parts[-1] += f"\n{line}"
        else:
            parts.append(line)
    return parts
