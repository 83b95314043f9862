"""A webhook, signed as Standard Webhooks has it (standardwebhooks.com): HMAC-SHA-256 of id, time
and body. Libraries that check it exist for most languages; `verify` is what they do."""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Mapping
from hashlib import sha256

import httpx
import orjson

from transforms.alerts.channels import Notice, Thread
from transforms.alerts.channels.http import LIMITS, post

_TOLERANCE_S = 300


class Webhook:
    """See the module."""

    def __init__(self, url: str, secret: str, limits: httpx.Timeout = LIMITS) -> None:
        """Args:
        url: of the receiver.
        secret: `whsec_` and base64, or any text.
        """
        self._url = url
        self._key = _key(secret)
        self._limits = limits

    def tell(self, key: str, notice: Notice, thread: Thread | None) -> Thread | None:
        """As `Channel.tell`; `webhook-id` is the key."""
        content = orjson.dumps(
            {"type": f"alert.{notice['step']}", "timestamp": notice["at"], "data": dict(notice)},
            option=orjson.OPT_SORT_KEYS,
        )
        at = str(int(time.time()))
        headers = {
            "webhook-id": key,
            "webhook-timestamp": at,
            "webhook-signature": f"v1,{_sign(self._key, key, at, content)}",
        }
        post(self._url, content, headers, "the webhook", self._limits)
        return None


def verify(secret: str, headers: Mapping[str, str], content: bytes, now_s: float) -> bool:
    """Whether a request that a receiver got is from us, whole, and no older than five minutes.

    Args:
      headers: by name in lower case.
      now_s: seconds since 1970.
    """
    at = headers.get("webhook-timestamp", "")
    if not at.isascii() or not at.isdigit() or abs(now_s - int(at)) > _TOLERANCE_S:
        return False
    wanted = _sign(_key(secret), headers.get("webhook-id", ""), at, content)
    return any(
        hmac.compare_digest(f"v1,{wanted}".encode(), given.encode())
        for given in headers.get("webhook-signature", "").split(" ")
    )


def _key(secret: str) -> bytes:
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except ValueError:  # binascii's own, and that of letters beyond ASCII
            pass
    return secret.encode()


def _sign(key: bytes, message_id: str, at: str, content: bytes) -> str:
    signed = b".".join([message_id.encode(), at.encode(), content])
    return base64.b64encode(hmac.digest(key, signed, sha256)).decode()
