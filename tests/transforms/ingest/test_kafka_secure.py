"""Reading over TLS and with SASL from a real broker that asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.services import ServiceError, kafka_libs
from schemas.errors import DistilwatchError
from tests.support.kafka import Topic, new_topic
from tests.support.secure import PASSWORD, USER, Authority, SecureBroker
from transforms.ingest.kafka import check_broker, offset_ranges, parse_kafka_uri, read_range
from transforms.ingest.kafka_reader import TopicReader

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    try:
        kafka_libs()
    except ServiceError as missing:
        pytest.skip(str(missing))
    with SecureBroker(tmp_path_factory.mktemp("secure")) as broker:
        broker.add_scram_user()
        yield broker


@pytest.fixture(scope="module")
def topic(broker: SecureBroker) -> Topic:
    topic = new_topic(broker)
    topic.produce([(0, b"1"), (0, b"2")])
    return topic


def read(uri: str) -> list[bytes]:
    parsed = parse_kafka_uri(uri)
    check_broker(parsed)
    reader = TopicReader(parsed)
    try:
        return [
            value
            for each in offset_ranges(parsed)
            for batch in read_range(reader, *each, 100)
            for value in batch.values
        ]
    finally:
        reader.close()


def sasl(mechanism: str, secret: str = "sasl_plain_password_env=SECRET") -> str:
    return f"sasl_mechanism={mechanism}&sasl_plain_username={USER}&{secret}"


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_a_user_and_a_password_from_environment_or_file(
    broker: SecureBroker, topic: Topic, mechanism: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    base = f"kafka://{broker.sasl}/{topic.name}?security_protocol=SASL_PLAINTEXT&"
    monkeypatch.setenv("SECRET", PASSWORD)
    assert read(base + sasl(mechanism)) == [b"1", b"2"]
    (tmp_path / "secret").write_text(PASSWORD + "\n")
    in_file = f"sasl_plain_password_file={tmp_path / 'secret'}"
    assert read(base + sasl(mechanism, in_file)) == [b"1", b"2"]

    monkeypatch.setenv("SECRET", "wrong-password")
    with pytest.raises(DistilwatchError, match="security") as refused:
        read(base + sasl(mechanism))
    assert "wrong-password" not in str(refused.value)
    with pytest.raises(DistilwatchError, match="cannot be read"):
        read(base + sasl(mechanism, "sasl_plain_password_file=/nowhere"))


def test_sasl_over_tls_under_our_own_authority(
    broker: SecureBroker, topic: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", PASSWORD)
    base = f"kafka://{broker.both}/{topic.name}?security_protocol=SASL_SSL&{sasl('SCRAM-SHA-512')}"
    assert read(f"{base}&ssl_cafile={broker.authority.pem}") == [b"1", b"2"]
    # Another authority's word, or none, is not enough.
    stranger = Authority.make(tmp_path / "other", "another CA")
    for more in (f"&ssl_cafile={stranger.pem}", ""):
        with pytest.raises(DistilwatchError):
            read(base + more)


def test_a_client_certificate_with_a_password(
    broker: SecureBroker, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = broker.authority.issue("client", b"key-password")
    monkeypatch.setenv("SECRET", "key-password")
    base = (
        f"kafka://{broker.tls}/{topic.name}?security_protocol=SSL&ssl_cafile={broker.authority.pem}"
    )
    own = f"&ssl_certfile={certificate}&ssl_keyfile={key}&ssl_password_env=SECRET"
    assert read(base + own) == [b"1", b"2"]
    with pytest.raises(DistilwatchError):
        read(base)


def test_a_listener_that_wants_more_than_it_gets_refuses(
    broker: SecureBroker, topic: Topic
) -> None:
    for address in (broker.sasl, broker.tls):
        with pytest.raises(DistilwatchError):
            read(f"kafka://{address}/{topic.name}")
