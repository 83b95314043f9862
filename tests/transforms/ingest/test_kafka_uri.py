"""Addresses of topics, and what is said about wrong ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipelines.preflight.inputs import check_input
from schemas.errors import DistilwatchError
from transforms.ingest.kafka_uri import KafkaUri, check_broker, parse_kafka_uri
from transforms.sinks import scheme_of


def test_an_address_alone_is_a_bounded_read_from_the_earliest_record() -> None:
    assert parse_kafka_uri("kafka://broker:9094/requests") == KafkaUri(("broker:9094",), "requests")


def test_several_brokers_and_ipv6_are_understood_and_the_port_has_a_default() -> None:
    uri = parse_kafka_uri("kafka://a,b:1,[::1]:9093,[::2]/t")
    assert uri.servers == ("a:9092", "b:1", "[::1]:9093", "[::2]:9092")


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("earliest", "earliest"),
        ("latest", "latest"),
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01T01:00:01+01:00", 1000),
        ("1970-01-01T00%3A00%3A01.5", 1500),
    ],
)
def test_start_is_a_word_or_a_time_in_any_zone(text: str, start: object) -> None:
    assert parse_kafka_uri(f"kafka://h:1/t?bounded=false&start={text}") == KafkaUri(
        ("h:1",), "t", False, start
    )


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("kafka://h:1/", "no topic"),
        ("kafka://h:1", "no topic"),
        ("kafka://h:1/a/b", "no such name"),
        ("kafka:///t", "no host and port"),
        ("kafka://h:x/t", "no host and port"),
        ("kafka://h:99999/t", "no host and port"),
        ("kafka://h:1/t?bounded=yes", "neither true nor false"),
        ("kafka://h:1/t?start=monday", "neither earliest, latest, committed, nor a time"),
        ("kafka://h:1/t?bound=true", "did you mean bounded?"),
        ("kafka://h:1/t?sasl_mechanisms=PLAIN", "did you mean sasl_mechanism?"),
        ("http://h:1/t", "not the address"),
    ],
)
def test_a_wrong_address_is_refused_with_what_is_wrong(uri: str, says: str) -> None:
    with pytest.raises(DistilwatchError, match=says.replace("?", r"\?")):
        parse_kafka_uri(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "kafka://me:hunter2@h:1/t",
        "kafka://me:hunter2/2@h:1/t",
        "kafka://me:2/hunter2@h:1/t",
        "kafka://me:hunter2?2@h:1/t",
        "kafka://h:1/t?sasl_plain_password=hunter2",
        "kafka://me:hunter2?2=@h:1/t",
        "Kafka://me:hunter2@h:1/t",
    ],
)
def test_a_password_in_the_address_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(DistilwatchError) as refused:
        parse_kafka_uri(uri)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "uri",
    ["kafka://me:pass/word@h:1/t", "kafka://h:1/t?sasl_plain_password=password"],
)
def test_who_gives_a_password_is_told_where_it_belongs(uri: str) -> None:
    with pytest.raises(DistilwatchError) as refused:
        parse_kafka_uri(uri)
    assert "sasl_plain_password_env" in str(refused.value)


@pytest.mark.parametrize("look", [check_input, scheme_of])
def test_a_password_in_what_is_no_address_is_not_repeated(look: Callable[[str], object]) -> None:
    with pytest.raises(DistilwatchError, match="no address") as refused:
        look("kafka://me:hunter2[@h:1/t")
    assert "hunter2" not in str(refused.value)


def test_passwords_come_from_the_environment_and_stay_out_of_the_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri = parse_kafka_uri(
        "kafka://h:1/t?security_protocol=SASL_SSL&sasl_plain_password_env=PW&ssl_check_hostname=false"
    )
    with pytest.raises(DistilwatchError, match="PW is not set"):
        uri.client_options()
    monkeypatch.setenv("PW", "hunter2")
    options = uri.client_options()
    assert options["sasl_plain_password"] == "hunter2"
    assert options["security_protocol"] == "SASL_SSL"
    assert options["ssl_check_hostname"] is False
    assert "hunter2" not in repr(uri)


def test_a_missing_broker_is_one_message_within_seconds_and_no_noise(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DistilwatchError, match="no Kafka broker answers"):
        check_broker("kafka://127.0.0.1:1/t")
    # Workers of other tests' runners may still say something.
    assert not [r for r in caplog.records if r.name.startswith(("kafka", "transforms"))]
    assert "kafka" not in "".join(capfd.readouterr()).lower()
