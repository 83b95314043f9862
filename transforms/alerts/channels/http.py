"""What channels over HTTP have in common: time limits, and what an answer means."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from transforms.alerts.channels import Refused, TryLater

LIMITS = httpx.Timeout(10.0, connect=5.0)
_LONGEST_WAIT_MS = 3_600_000
_AGAIN = (408, 409, 425, 429)


def post(
    url: str, content: bytes, headers: Mapping[str, str], name: str, limits: httpx.Timeout = LIMITS
) -> httpx.Response:
    """Posts JSON and returns an answer that says that it was taken.

    Redirects are not followed: they would bring what is signed, or a secret, somewhere else.

    Args:
      url: which may hold a secret, so it is in no error.
      name: of the receiver, for errors.

    Raises:
      TryLater: no answer in time, 5xx, 408, 409, 425, or 429.
      Refused: another answer.
    """
    try:
        answer = httpx.post(
            url, content=content, headers={"Content-Type": "application/json", **headers},
            timeout=limits, follow_redirects=False,
        )  # fmt: skip
    except httpx.TimeoutException:
        raise TryLater(f"{name} did not answer in time") from None
    except httpx.HTTPError as error:
        raise TryLater(f"{name} cannot be reached ({type(error).__name__})") from None
    except (httpx.InvalidURL, ValueError):
        raise Refused(f"the address of {name} is no address") from None
    if answer.is_success:
        return answer
    if answer.status_code in _AGAIN or answer.is_server_error:
        raise TryLater(f"{name} answered {answer.status_code}", retry_after_ms(answer))
    raise Refused(f"{name} answered {answer.status_code}")


def retry_after_ms(answer: httpx.Response) -> int:
    """What Retry-After asks for, at most an hour; 0 where it says nothing, or nonsense."""
    said = answer.headers.get("Retry-After", "").strip()
    try:
        wait_s = float(said)
    except ValueError:
        try:
            wait_s = (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return 0
    if wait_s != wait_s:
        return 0
    return round(min(max(wait_s * 1000, 0), _LONGEST_WAIT_MS))
