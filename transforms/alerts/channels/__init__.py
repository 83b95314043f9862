"""Where alerts are told: each channel takes a notice and gives it the form that its receiver wants.

A channel either returns, and the receiver has the message; or raises `TryLater`, or `Refused` when
it is of no use to try again. What it raises never holds a secret.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from schemas.errors import DistilwatchError
from transforms.alerts.routing import (
    AnyChannel,
    EmailChannel,
    PagerDutyChannel,
    Secret,
    SlackChannel,
    WebhookChannel,
)

Notice = Mapping[str, Any]
Thread = Mapping[str, Any]


class TryLater(Exception):
    """The receiver did not take it now; `after_ms` is what it asked for, 0 for nothing."""

    def __init__(self, why: str, after_ms: int = 0) -> None:
        super().__init__(why)
        self.after_ms = after_ms


class Refused(Exception):
    """The receiver will never take it."""


class Channel(Protocol):
    """Tells one receiver."""

    def tell(self, key: str, notice: Notice, thread: Thread | None) -> Thread | None:
        """Tells a step of an alert.

        Args:
          key: the same whenever this is told, so that the receiver can tell a repeat.
          notice: as `transforms.alerts.notice` makes it.
          thread: that an earlier step of the alert began, the newest; None for none.

        Returns:
          The thread that this began, which takes the place of the one before; None where there is
          none, or none new.

        Raises:
          TryLater, Refused.
        """


def open_channel(settings: AnyChannel) -> Channel:
    """A channel of its settings.

    Raises:
      DistilwatchError: a secret, or a file, is not where the settings say.
    """
    if isinstance(settings, WebhookChannel):
        from transforms.alerts.channels.webhook import Webhook

        return Webhook(settings.url, secret_of(settings.secret))
    if isinstance(settings, PagerDutyChannel):
        from transforms.alerts.channels.pagerduty import PagerDuty

        return PagerDuty(settings.url, secret_of(settings.routing_key))
    if isinstance(settings, SlackChannel):
        from transforms.alerts.channels.slack import SlackBot, SlackWebhook

        if settings.token is not None:
            return SlackBot(settings.url, secret_of(settings.token), str(settings.channel))
        assert settings.webhook is not None  # the settings were checked
        return SlackWebhook(secret_of(settings.webhook))
    if isinstance(settings, EmailChannel):
        from transforms.alerts.channels.mail import Mail

        password = secret_of(settings.password) if settings.password else ""
        if settings.ca_file is not None:
            _check_certificates(settings.ca_file)
        return Mail(settings, password)
    from transforms.alerts.channels.topic import Topic
    from transforms.ingest.kafka_uri import parse_kafka_uri

    parse_kafka_uri(settings.uri).client_options()  # its secrets are there
    return Topic(settings.uri)


def _check_certificates(ca_file: str) -> None:
    import ssl

    try:
        ssl.create_default_context(cafile=ca_file)
    except OSError:  # of ssl's own as well
        raise DistilwatchError(
            "there are no certificates to trust", f"file {ca_file}", "put them there, as PEM"
        ) from None


def secret_of(secret: Secret) -> str:
    """The secret, from where the settings say.

    Raises:
      DistilwatchError: it is not there.
    """
    if secret.env is not None:
        value, place = os.environ.get(secret.env, ""), f"environment variable {secret.env}"
    else:
        place = f"file {secret.file}"
        try:
            value = Path(str(secret.file)).read_text(encoding="utf-8")
        except OSError:
            value = ""
    if not value.strip():
        raise DistilwatchError("there is no secret", place, "put it there, and nowhere else")
    return value.strip()
