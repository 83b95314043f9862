"""E-mail over SMTP; the steps of an alert are one thread, and a repeat has the same Message-ID."""

from __future__ import annotations

import logging
import smtplib
import ssl
from email.message import EmailMessage
from email.policy import SMTP
from hashlib import blake2b

from transforms.alerts.channels import Notice, Refused, Thread, TryLater
from transforms.alerts.notice import body
from transforms.alerts.routing import EmailChannel

_LIMIT_S = 15.0
_log = logging.getLogger(__name__)


class Mail:
    """See the module."""

    def __init__(self, settings: EmailChannel, password: str, limit_s: float = _LIMIT_S) -> None:
        self._settings = settings
        self._password = password
        self._limit_s = limit_s

    def tell(self, key: str, notice: Notice, thread: Thread | None) -> Thread | None:
        """As `Channel.tell`."""
        message = self._message(key, notice, thread)
        settings = self._settings
        try:
            context = ssl.create_default_context(cafile=settings.ca_file)
            with self._connected(context) as server:
                if settings.security == "starttls":
                    server.starttls(context=context)
                if settings.user:
                    server.login(settings.user, self._password)
                refused = server.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            kind = Refused if all(code >= 500 for code in codes) else TryLater
            raise kind("the mail server refused all recipients") from None
        except smtplib.SMTPAuthenticationError:
            raise TryLater("the mail server refused user and password") from None
        except smtplib.SMTPResponseException as error:
            kind = Refused if error.smtp_code >= 500 else TryLater
            raise kind(f"the mail server answered {error.smtp_code}") from None
        except (OSError, smtplib.SMTPException) as error:
            raise TryLater(f"the mail server cannot be used ({type(error).__name__})") from None
        if refused:
            # The others have it; once more would be twice for them.
            told = ", ".join(f"{who} ({code})" for who, (code, _) in sorted(refused.items()))
            _log.warning("the mail server took an alert, but not for %s; mend `to`", told)
        return {"message_id": message["Message-ID"]} if thread is None else None

    def _connected(self, context: ssl.SSLContext) -> smtplib.SMTP:
        settings = self._settings
        if settings.security == "tls":
            return smtplib.SMTP_SSL(
                settings.host, settings.port, timeout=self._limit_s, context=context
            )
        return smtplib.SMTP(settings.host, settings.port, timeout=self._limit_s)

    def _message(self, key: str, notice: Notice, thread: Thread | None) -> EmailMessage:
        settings, message = self._settings, EmailMessage(policy=SMTP)
        domain = settings.sender.rpartition("@")[2].rstrip(">") or "localhost"
        message["From"] = settings.sender
        message["To"] = ", ".join(settings.to)
        message["Subject"] = f"[distilwatch] {notice['title']}"
        message["Message-ID"] = f"<{blake2b(key.encode(), digest_size=12).hexdigest()}@{domain}>"
        message["Auto-Submitted"] = "auto-generated"
        message["X-Distilwatch-Alert"] = str(notice["alert_id"])
        if thread is not None:
            message["In-Reply-To"] = message["References"] = thread["message_id"]
        if notice["severity"] in ("high", "critical") and notice["state"] != "resolved":
            message["X-Priority"] = "1"
        message.set_content("\n".join([str(notice["title"]), "", *body(notice), ""]))
        return message
