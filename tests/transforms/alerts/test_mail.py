"""E-mail, against a real SMTP server: encrypted, with a password, refusing, stalling, full."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from transforms.alerts.channels import Refused, TryLater
from transforms.alerts.channels.mail import Mail
from transforms.alerts.routing import EmailChannel

NOTICE: dict[str, Any] = {
    "alert_id": "a-1", "step": "opened", "state": "open", "severity": "critical",
    "title": "Critical: 14 accounts took code in 5,210 requests", "reason": "flagged",
    "accounts": 4, "sure": "About 1 in 1,400 looks this unusual by chance.",
    "cost": "$1,234 at list price",
    "check": ["Who pays?"], "case_url": "https://t.example/c-1", "runbook_url": "",
    "namespace": "",
}  # fmt: skip


class Box:
    """A handler that keeps what it gets, and answers what it is told to."""

    def __init__(self) -> None:
        self.got: list[EmailMessage] = []
        self.encrypted: list[bool] = []
        self.answers: list[str] = []
        self.rcpt: str | None = None
        self.known: set[str] = set()
        self.stall_s = 0.0

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if self.rcpt and address not in self.known:
            return self.rcpt
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        await asyncio.sleep(self.stall_s)
        if self.answers:
            return self.answers.pop(0)
        self.got.append(message_from_bytes(envelope.content, policy=default))  # type: ignore[arg-type]
        self.encrypted.append(session.ssl is not None)
        return "250 taken"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


class AnyPort(Controller):
    """On a port that is free."""

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        super()._trigger_server()


Serve = Callable[..., tuple[Box, int]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    running: list[Controller] = []

    def start(**options: Any) -> tuple[Box, int]:
        box = Box()
        server = AnyPort(box, hostname="127.0.0.1", port=0, ready_timeout=60, **options)
        server.start()
        running.append(server)
        return box, server.port

    yield start
    for server in running:
        server.stop()


def channel(port: int, password: str = "", limit_s: float = 30.0, **more: Any) -> Mail:
    settings = {
        "kind": "email", "host": "127.0.0.1", "port": port, "security": "none",
        "from": "distilwatch@lab.example", "to": ["oncall@lab.example", "sec@lab.example"],
    } | more  # fmt: skip
    return Mail(EmailChannel.model_validate(settings), password, limit_s)


def test_the_steps_of_an_alert_are_one_thread_and_a_repeat_has_the_same_id(serve: Serve) -> None:
    box, port = serve()
    mail = channel(port)
    thread = mail.tell("a-1/1/mail", NOTICE, None)
    mail.tell("a-1/1/mail", NOTICE, None)
    assert mail.tell("a-1/2/mail", NOTICE | {"state": "resolved"}, thread) is None
    first, again, last = box.got
    assert first["Message-ID"] == again["Message-ID"] != last["Message-ID"]
    assert last["In-Reply-To"] == first["Message-ID"]
    assert first["Subject"] == f"[distilwatch] {NOTICE['title']}"
    assert (first["X-Priority"], last["X-Priority"]) == ("1", None)
    text = first.get_content()
    for part in ("1 in 1,400", "$1,234", "Who pays?", "https://t.example/c-1"):
        assert part in text


def test_it_is_encrypted_before_a_password_is_sent(serve: Serve, certificate: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        right = (data.login, data.password) == (b"me", b"right")
        return AuthResult(success=right, handled=right)  # not handled: the server says 535

    box, port = serve(
        tls_context=context, require_starttls=True, authenticator=check, auth_required=True
    )
    how = {"security": "starttls", "user": "me", "ca_file": str(certificate)}
    channel(port, "right", **how).tell("k", NOTICE, None)
    assert box.encrypted == [True]
    with pytest.raises(TryLater, match="user and password") as caught:
        channel(port, "wrong", **how).tell("k", NOTICE, None)
    assert "wrong" not in str(caught.value)
    with pytest.raises(TryLater, match="SSLCertVerificationError"):
        channel(port, "right", security="starttls", user="me").tell("k", NOTICE, None)
    assert len(box.got) == 1


def test_what_passes_is_tried_again_and_what_is_refused_is_not(serve: Serve) -> None:
    box, port = serve()
    mail = channel(port)
    box.answers = ["451 later", "554 never"]
    with pytest.raises(TryLater, match="451"):
        mail.tell("k", NOTICE, None)
    with pytest.raises(Refused, match="554"):
        mail.tell("k", NOTICE, None)
    for answer, kind in (("450 full", TryLater), ("550 nobody", Refused)):
        box.rcpt = answer
        with pytest.raises(kind, match="all recipients"):
            mail.tell("k", NOTICE, None)
    box.rcpt, box.stall_s = None, 3.0
    with pytest.raises(TryLater, match="cannot be used"):
        channel(port, limit_s=0.5).tell("k", NOTICE, None)


def test_who_of_several_is_refused_is_told_and_the_others_hear_once(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    box, port = serve()
    box.rcpt, box.known = "550 nobody", {"oncall@lab.example"}
    channel(port).tell("k", NOTICE, None)
    assert len(box.got) == 1
    assert "not for sec@lab.example (550)" in caplog.text


def test_no_server_is_tried_again() -> None:
    with pytest.raises(TryLater, match="ConnectionRefusedError"):
        channel(1).tell("k", NOTICE, None)


def test_a_title_cannot_add_headers(serve: Serve) -> None:
    box, port = serve()
    try:
        channel(port).tell("k", NOTICE | {"title": "a\r\nBcc: eve@x.example"}, None)
    except ValueError:
        return  # the library refuses it
    assert all("Bcc" not in message for message in box.got)
