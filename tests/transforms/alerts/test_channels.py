"""Channels over HTTP, against servers that check what they get, fail, stall, and ask to wait."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from schemas.errors import DistilwatchError
from tests.support.receivers import Answer, Receiver, receiver
from transforms.alerts.channels import Channel, Refused, TryLater, open_channel, secret_of
from transforms.alerts.channels.pagerduty import PagerDuty
from transforms.alerts.channels.slack import SlackBot, SlackWebhook
from transforms.alerts.channels.topic import Topic
from transforms.alerts.channels.webhook import Webhook, verify
from transforms.alerts.life import Observation, advance
from transforms.alerts.life import Standing as Said
from transforms.alerts.notice import body, notice
from transforms.alerts.paging import Growth, read_policies
from transforms.alerts.routing import Channels, Secret

SECRET = "whsec_" + base64.b64encode(b"a secret of some bytes").decode()
TOKEN, KEY = "xoxb-of-a-bot", "R0123456789ABCDEF0123456789ABCDE"
SHORT = httpx.Timeout(0.5)
NOW = 1_780_315_200_000


def told(kind: str = "opened") -> dict[str, Any]:
    """A notice of each kind of step, as the desk makes it."""
    seen = Observation(
        "c-8d1f", 0, 1, True, "coordinated-campaign", "v", "medium", "medium", 14, 5_210, 1_234.5,
        1 / 1_400, 0.03,
    )  # fmt: skip
    alert, steps = advance(None, seen, Said(), Growth(), NOW)
    news = {
        "raised": (Observation(**{**_plain(seen), "revision": 2, "severity": "critical"}), Said()),
        "acknowledged": (seen, Said(seen=True, why="confirmed by ann", disposition_id="d")),
        "resolved": (Observation(**{**_plain(seen), "revision": 2, "flagged": False}), Said()),
    }
    if kind != "opened":
        alert, steps = advance(alert, *news[kind], Growth(), NOW)
    policy = read_policies(None).named("coordinated-campaign")
    return notice(
        steps[-1], "a-1", {"capabilities": ["code"], "shared": ["payment"]}, policy, NOW,
        case_url="https://t.example/c/{cluster_id}", runbook_url="https://r.example/{runbook}",
    )  # fmt: skip


def _plain(seen: Observation) -> dict[str, Any]:
    return {name: getattr(seen, name) for name in Observation.__dataclass_fields__}


@pytest.fixture
def server() -> Iterator[Receiver]:
    with receiver() as one:
        yield one


def _signed(_: str, headers: dict[str, str], content: bytes) -> Answer:
    good = verify(SECRET, headers, content, time.time())
    return Answer(204 if good else 401, content=b"")


def test_a_webhook_is_signed_so_that_its_receiver_can_tell() -> None:
    with receiver(_signed) as server:
        Webhook(server.url + "/in", SECRET).tell("a-1/1/hook", told(), None)
        with pytest.raises(Refused, match="401"):
            Webhook(server.url, "another secret").tell("a-1/1/hook", told(), None)
        good, _ = server.requests
        assert good.headers["webhook-id"] == "a-1/1/hook"
        assert good.json["type"] == "alert.opened"
        assert good.json["data"]["cluster_id"] == "c-8d1f"
        # What was changed, or comes a second time much later, is none of ours.
        assert not verify(SECRET, good.headers, good.content + b" ", time.time())
        assert not verify(SECRET, good.headers, good.content, time.time() + 301)
        other = good.headers | {"webhook-id": "a-2/1/hook"}
        assert not verify(SECRET, other, good.content, time.time())


def test_the_signature_is_that_of_the_standard() -> None:
    """The example of the specification of Standard Webhooks."""
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    Webhook("http://127.0.0.1:9", "whsec_é")  # any text is a secret
    assert verify(secret, headers, b'{"test": 2432232314}', 1_614_265_330)


def _incidents(channel: PagerDuty, *notices: dict[str, Any]) -> None:
    """Tells steps of one alert, as the sender does: the newest thread counts."""
    thread: Any = None
    for one in notices:
        thread = channel.tell("k", one, thread) or thread


def test_pagerduty_has_one_incident_an_alert_and_a_new_one_when_it_is_graver(
    server: Receiver,
) -> None:
    channel = PagerDuty(server.url, KEY)
    _incidents(channel, *(told(kind) for kind in ("opened", "raised", "acknowledged", "resolved")))
    events = [request.json for request in server.requests]
    assert {request.path for request in server.requests} == {"/v2/enqueue"}
    assert [(event["event_action"], event["dedup_key"]) for event in events] == [
        ("trigger", "a-1"),
        ("trigger", "a-1/2"),
        ("resolve", "a-1"),
        ("acknowledge", "a-1/2"),
        ("resolve", "a-1/2"),
    ]
    assert [e["payload"]["severity"] for e in events[:2]] == ["warning", "critical"]
    # What PagerDuty's documentation of Events API v2 asks for.
    schema = {
        "type": "object",
        "required": ["routing_key", "event_action", "dedup_key", "payload", "links"],
        "properties": {
            "routing_key": {"type": "string", "minLength": 32, "maxLength": 32},
            "dedup_key": {"type": "string", "maxLength": 255},
            "payload": {
                "type": "object",
                "required": ["summary", "source", "severity"],
                "properties": {
                    "summary": {"type": "string", "maxLength": 1024},
                    "severity": {"enum": ["critical", "error", "warning", "info"]},
                    "timestamp": {"type": "string", "format": "date-time"},
                },
            },
            "links": {
                "type": "array",
                "minItems": 2,
                "items": {"required": ["href", "text"]},
            },
        },
    }
    for event in events[:2]:  # both that trigger
        jsonschema.Draft202012Validator(schema).validate(event)


def test_pagerduty_wakes_people_when_the_days_of_a_watch_are_over(server: Receiver) -> None:
    grown = told() | {"step": "updated", "revision": 2}
    watched = told("acknowledged") | {"revision": 3}
    ended = told() | {"step": "updated", "revision": 4}
    channel = PagerDuty(server.url, KEY)
    _incidents(channel, told(), grown, watched, ended, told("resolved"))
    assert [(r.json["event_action"], r.json["dedup_key"]) for r in server.requests] == [
        ("trigger", "a-1"),
        ("trigger", "a-1"),  # notes it in the incident that is there
        ("acknowledge", "a-1"),
        ("trigger", "a-1/4"),
        ("resolve", "a-1"),
        ("resolve", "a-1/4"),
    ]


def test_pagerduty_is_told_the_same_again_after_half_of_it_failed(server: Receiver) -> None:
    channel = PagerDuty(server.url, KEY)
    server.script += [Answer(202), Answer(500)]
    with pytest.raises(TryLater):
        channel.tell("k", told("raised"), None)
    assert channel.tell("k", told("raised"), None) == {
        "dedup_key": "a-1/2",
        "acknowledged": False,
    }
    keys = [(r.json["event_action"], r.json["dedup_key"]) for r in server.requests]
    assert keys == [("trigger", "a-1/2"), ("resolve", "a-1")] * 2


def test_pagerduty_says_what_the_others_say(server: Receiver) -> None:
    channel = PagerDuty(server.url, KEY)
    for notice_ in (told(), told("raised"), told() | {"namespace": "drill"}):
        channel.tell("k", notice_, None)
    first, raised, drill = (
        r.json["payload"]["custom_details"] for r in server.requests if "payload" in r.json
    )
    assert list(first) == ["what", "how sure", "cost", "check first", "you can"]
    said = body(told())
    assert f"How sure: {first['how sure']}" in said
    assert f"Cost: {first['cost']}" in said
    assert f"You can: {first['you can']}" in said
    assert raised["why now"] == "medium before, critical now"
    assert drill["drill"] == "This is a drill. Nothing is happening to customers."


def _slack(_: str, headers: dict[str, str], content: bytes) -> Answer:
    if headers.get("authorization") != f"Bearer {TOKEN}":
        return Answer(content=b'{"ok": false, "error": "invalid_auth"}')
    ts = json.loads(content).get("thread_ts", "1780315200.000100")
    return Answer(content=json.dumps({"ok": True, "ts": ts}).encode())


def test_slack_keeps_an_alert_in_one_thread() -> None:
    with receiver(_slack) as server:
        channel = SlackBot(server.url, TOKEN, "C1")
        thread = channel.tell("k1", told(), None)
        assert thread == {"ts": "1780315200.000100"}
        assert channel.tell("k2", told("raised"), thread) is None
        first, second = (request.json for request in server.requests)
        assert "thread_ts" not in first
        assert second["thread_ts"] == "1780315200.000100"
        assert second["reply_broadcast"] is True
        assert first["metadata"]["event_payload"]["key"] == "k1"
        assert first["text"] == (
            "Medium: 14 accounts may be copying the model; they share a payment method"
        )
        (block,) = first["attachments"][0]["blocks"]
        assert block["expand"] is True  # or the first lines would be all that is seen
        assert block["text"]["text"] == "\n".join(body(told()))
        assert "https://t.example/c/c-8d1f" in block["text"]["text"]
        with pytest.raises(Refused, match="invalid_auth") as caught:
            SlackBot(server.url, "xoxb-wrong", "C1").tell("k", told(), None)
        assert "xoxb" not in str(caught.value)
        server.script.append(
            Answer(200, {"Retry-After": "7"}, b'{"ok": false, "error": "ratelimited"}')
        )
        with pytest.raises(TryLater) as later:
            channel.tell("k", told(), None)
        assert later.value.after_ms == 7_000


def test_slack_takes_what_is_long_in_parts(server: Receiver) -> None:
    checks = [f"{i} " + "&" * 1_200 for i in range(4)]
    SlackWebhook(server.url).tell("k", told() | {"check": [*checks, "x" * 9_000]}, None)
    blocks = server.requests[0].json["attachments"][0]["blocks"]
    texts = [block["text"]["text"] for block in blocks]
    assert all(0 < len(text) <= 3_000 for text in texts)
    assert "https://t.example/c/c-8d1f" in texts[-1]
    assert "".join(texts).count("- ") >= 5


def test_names_cannot_steer_slacks_markup(server: Receiver) -> None:
    SlackWebhook(server.url).tell("k", told() | {"title": "<!channel> & <http://x|y>"}, None)
    assert server.requests[0].json["text"] == "&lt;!channel&gt; &amp; &lt;http://x|y&gt;"


_MAKERS: list[Callable[[str], Channel]] = [
    lambda url: Webhook(url, SECRET, SHORT),
    lambda url: PagerDuty(url, KEY, SHORT),
    lambda url: SlackWebhook(url, SHORT),
    lambda url: SlackBot(url, TOKEN, "C1", SHORT),
]


@pytest.mark.parametrize("make", _MAKERS)
def test_what_fails_is_tried_again_and_what_is_refused_is_not(
    make: Callable[[str], Channel], server: Receiver
) -> None:
    channel = make(server.url)
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    for answer, least, most in (
        (Answer(500), 0, 0),
        (Answer(503, {"Retry-After": "30"}), 30_000, 30_000),
        (Answer(429, {"Retry-After": date}), 30_000, 90_000),
        (Answer(429, {"Retry-After": "soon"}), 0, 0),
        (Answer(429, {"Retry-After": "99999999"}), 3_600_000, 3_600_000),
        (Answer(stall_s=5.0), 0, 0),
    ):
        server.script.append(answer)
        with pytest.raises(TryLater) as later:
            channel.tell("k", told(), None)
        assert least <= later.value.after_ms <= most
        for secret in (SECRET, TOKEN, KEY, server.url):
            assert secret not in str(later.value)
    for status in (400, 401, 404, 302):
        server.script.append(Answer(status, {"Location": "http://127.0.0.1:1/steal"}))
        with pytest.raises(Refused, match=str(status)):
            channel.tell("k", told(), None)
    server.close()
    with pytest.raises(TryLater, match="cannot be reached"):
        channel.tell("k", told(), None)


def test_a_broker_that_is_away_is_tried_again() -> None:
    with pytest.raises(TryLater, match="no Kafka broker answers"):
        Topic("kafka://127.0.0.1:1/told").tell("k", told(), None)


def test_secrets_come_from_the_environment_or_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOOK_SECRET", " s1\n")
    (tmp_path / "secret").write_text("s2\n")
    assert secret_of(Secret(env="HOOK_SECRET")) == "s1"
    assert secret_of(Secret(file=str(tmp_path / "secret"))) == "s2"
    for nowhere in (Secret(env="NOT_SET"), Secret(file=str(tmp_path / "none"))):
        with pytest.raises(DistilwatchError, match="no secret"):
            secret_of(nowhere)
    settings = Channels.model_validate(
        {"channels": {
            "a": {"kind": "webhook", "url": "http://x", "secret": {"env": "HOOK_SECRET"}},
            "b": {"kind": "pagerduty", "routing_key": {"env": "HOOK_SECRET"}},
            "c": {"kind": "slack", "webhook": {"env": "HOOK_SECRET"}},
            "d": {"kind": "slack", "token": {"env": "HOOK_SECRET"}, "channel": "C1"},
            "e": {"kind": "email", "host": "x", "from": "a@b.c", "to": ["d@e.f"]},
            "f": {"kind": "kafka", "uri": "kafka://h:1/t"},
        }}
    )  # fmt: skip
    (tmp_path / "ca.pem").write_text("no certificate")
    for mail_or_topic, wrong in (
        ({"kind": "kafka", "uri": "kafka://h:1/t?sasl_plain_password_env=NOT_SET"}, "NOT_SET"),
        ({"kind": "kafka", "uri": "kafka://h:1/t?sasl_plain_password_file=/none"}, "/none"),
        ({"kind": "email", "host": "x", "from": "a@b.c", "to": ["d@e.f"],
          "ca_file": str(tmp_path / "none.pem")}, "no certificates to trust"),
        ({"kind": "email", "host": "x", "from": "a@b.c", "to": ["d@e.f"],
          "ca_file": str(tmp_path / "ca.pem")}, "no certificates to trust"),
    ):  # fmt: skip
        broken = Channels.model_validate({"channels": {"x": mail_or_topic}})
        with pytest.raises(DistilwatchError, match=wrong):
            open_channel(broken.channels["x"])
    assert [type(open_channel(c)).__name__ for c in settings.channels.values()] == [
        "Webhook", "PagerDuty", "SlackWebhook", "SlackBot", "Mail", "Topic",
    ]  # fmt: skip
