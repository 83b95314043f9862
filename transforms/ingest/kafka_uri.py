"""Where a topic is: `kafka://host:port[,host:port]/topic?option=value&…`, and whether it answers.

| option | meaning |
|---|---|
| bounded | true (default): up to the end offsets found at the start; false: go on |
| start | earliest (default), latest, committed (of the group), or a time (RFC 3339): first records
written from then on |
| group | name of the consumer group whose offsets are committed, for the lag to be seen |
| missing | skip (default) or fail: what to do when records were deleted before they were read |
| sasl_plain_password_env, ssl_password_env | name of the environment variable with the password |
| sasl_plain_password_file, ssl_password_file | path of the file with the password |
| others that begin with security_, sasl_, ssl_ | as kafka-python has them |
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NoReturn
from urllib.parse import unquote

from schemas.errors import DistilwatchError, without_user

_PLAIN = (
    "security_protocol", "sasl_mechanism", "sasl_plain_username", "ssl_cafile", "ssl_certfile",
    "ssl_keyfile", "ssl_check_hostname",
)  # fmt: skip
_SECRET = ("sasl_plain_password", "ssl_password")
OPTIONS = (
    "bounded", "start", "group", "missing", *_PLAIN,
    *(f"{name}_{kind}" for name in _SECRET for kind in ("env", "file")),
)  # fmt: skip
_HOST = re.compile(r"\[[0-9A-Fa-f:.%]+\]|[^][\s/]+")
_FORM = "write kafka://host:port/topic"
Start = Literal["earliest", "latest", "committed"] | int
_TRUTH = {"true": True, "false": False}


@dataclass(frozen=True)
class KafkaUri:
    """A topic and how to read it.

    Attributes:
      servers: "host:port" each.
      topic: its name.
      bounded: whether reading ends at the end offsets found at the start.
      start: "earliest", "latest", "committed", or milliseconds UTC of the records' Kafka
        timestamps.
      client: options of the client by name; passwords as names of environment variables, or of
        files.
      group: whose offsets are committed; "" for one that is named after the run.
      missing: "skip" or "fail" when records were deleted before they were read.
    """

    servers: tuple[str, ...]
    topic: str
    bounded: bool = True
    start: Start = "earliest"
    client: tuple[tuple[str, str], ...] = ()
    group: str = ""
    missing: Literal["skip", "fail"] = "skip"

    @property
    def source(self) -> str:
        """Name of the source in tables: it outlives a move of the broker."""
        return f"kafka://{self.topic}"

    @property
    def place(self) -> str:
        """For messages: no options, no user."""
        return f"kafka://{','.join(self.servers)}/{self.topic}"

    def client_options(self) -> dict[str, Any]:
        """Arguments for every client of kafka-python.

        Raises:
          DistilwatchError: an environment variable is not set, or a file cannot be read.
        """
        options: dict[str, Any] = {
            "bootstrap_servers": list(self.servers),
            "client_id": "distilwatch",
            # A broker that comes back should be noticed soon; the default is half a minute.
            "reconnect_backoff_max_ms": 2_000,
        }
        for name, value in self.client:
            if name.endswith("_env"):
                if value not in os.environ:
                    raise DistilwatchError(
                        f"the environment variable {value} is not set",
                        f"{name} of {self.place}",
                        "set it to the password",
                    )
                options[name.removesuffix("_env")] = os.environ[value]
            elif name.endswith("_file") and name.removesuffix("_file") in _SECRET:
                options[name.removesuffix("_file")] = self._secret_in(name, value)
            else:
                options[name] = _TRUTH.get(value, value)
        return options

    def _secret_in(self, name: str, path: str) -> str:
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise DistilwatchError(
                f"the file {path} cannot be read",
                f"{name} of {self.place}",
                "write the password to it",
            ) from None


def parse_kafka_uri(uri: str) -> KafkaUri:
    """Reads a URI; see the module for its options.

    Raises:
      DistilwatchError: when it is not one. The message never holds what could be a password.
    """
    if not uri.startswith("kafka://"):
        raise DistilwatchError("not the address of a Kafka topic", without_user(uri), _FORM)
    address, _, query = uri.removeprefix("kafka://").partition("?")
    hosts, _, topic = address.partition("/")
    if "@" in address:  # a password may have a slash
        raise DistilwatchError(
            "user and password do not belong into the address",
            f"kafka://…@{address.rpartition('@')[2]}",
            "use ?sasl_plain_username=NAME&sasl_plain_password_env=VARIABLE",
        )
    # Of a password with a ? the rest is where options are.
    where = "kafka://…" if "@" in query else f"kafka://{hosts}/{topic}"
    servers = tuple(_server(host, where) for host in hosts.split(","))
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", topic) or topic in (".", ".."):
        problem = "no such name of a topic is possible" if topic else "no topic in the address"
        raise DistilwatchError(problem, where, _FORM)
    bounded, start = True, "earliest"
    client: dict[str, str] = {}
    group, missing = "", "skip"
    for pair in filter(None, query.split("&")):
        # Not parse_qsl, which would make a blank of the + in a time zone.
        name, _, value = pair.partition("=")
        value = unquote(value)
        if name == "bounded":
            if value not in _TRUTH:
                raise DistilwatchError(
                    "bounded is neither true nor false", where, "say one of them"
                )
            bounded = _TRUTH[value]
        elif name == "start":
            start = value
        elif name == "group":
            group = value
        elif name == "missing":
            if value not in ("skip", "fail"):
                raise DistilwatchError("missing is neither skip nor fail", where, "say one of them")
            missing = value
        elif name in OPTIONS:
            client[name] = value
        else:
            _unknown(name, where)
    begin = _start(start, where)
    if begin == "committed" and not group:
        raise DistilwatchError("start=committed needs a group", where, "name it with group=NAME")
    return KafkaUri(
        servers, topic, bounded, begin, tuple(sorted(client.items())), group,
        "fail" if missing == "fail" else "skip",
    )  # fmt: skip


def _server(text: str, where: str) -> str:
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    host, port = (host, port) if colon else (text, "9092")
    if not _HOST.fullmatch(host) or not port.isdigit() or not 0 < int(port) < 65536:
        raise DistilwatchError("no host and port of a broker in the address", where, _FORM)
    return f"{host}:{port}"


def _start(text: str, where: str) -> Start:
    if text == "earliest":
        return "earliest"
    if text == "latest":
        return "latest"
    if text == "committed":
        return "committed"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise DistilwatchError(
            "start is neither earliest, latest, committed, nor a time",
            where,
            "write a time as 2026-01-31T12:00:00Z",
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0, round(moment.timestamp() * 1000))


def _unknown(name: str, where: str) -> NoReturn:
    near = difflib.get_close_matches(name, OPTIONS, n=1)
    if name in _SECRET:
        raise DistilwatchError(
            f"{name} does not belong into the address",
            where,
            f"put it into an environment variable or a file, and name that with {name}_env or "
            f"{name}_file",
        )
    raise DistilwatchError(
        f"unknown option {name}",
        where,
        f"did you mean {near[0]}?" if near else f"it can be one of {', '.join(OPTIONS)}",
    )


def hush_client() -> None:
    """Keeps threads of kafka-python, which outlive our calls, from telling by the dozen that a
    broker is away; whoever needs it says so once."""
    for part in ("kafka.net", "kafka.cluster", "kafka.consumer", "kafka.producer", "kafka.client",
                 "kafka.coordinator"):  # fmt: skip
        logging.getLogger(part).setLevel(logging.CRITICAL)


@contextlib.contextmanager
def quiet_client() -> Iterator[None]:
    """Keeps kafka-python from logging what our own message is about to say."""
    logger = logging.getLogger("kafka")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def check_broker(uri: str | KafkaUri, make_topic: bool = False) -> None:
    """Raises DistilwatchError within seconds when a topic cannot be had.

    Args:
      uri: of the topic.
      make_topic: makes it, with the broker's defaults, when there is none.
    """
    topic = parse_kafka_uri(uri) if isinstance(uri, str) else uri
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError, TopicAlreadyExistsError

    with quiet_client():
        try:
            admin = KafkaAdminClient(
                **topic.client_options(), bootstrap_timeout_ms=5_000, request_timeout_ms=5_000
            )
        except (KafkaError, OSError, ValueError) as error:
            raise no_broker(topic, error) from None
        try:
            names = admin.list_topics()
            if topic.topic in names:
                return
            if not make_topic:
                raise no_topic(topic, names)
            with contextlib.suppress(TopicAlreadyExistsError):
                admin.create_topics([topic.topic])
        except KafkaError as error:
            raise no_broker(topic, error) from None
        finally:
            admin.close()


def no_broker(topic: KafkaUri, error: Exception) -> DistilwatchError:
    """What to say when brokers do not answer, or refuse."""
    kind = type(error).__name__
    if kind in ("KafkaTimeoutError", "NoBrokersAvailable", "KafkaConnectionError"):
        return DistilwatchError(
            "no Kafka broker answers", topic.place, "start it, or check host, port and security"
        )
    return DistilwatchError(
        f"the Kafka broker refuses ({kind})", topic.place, "check the security options and rights"
    )


def no_topic(topic: KafkaUri, names: Sequence[str]) -> DistilwatchError:
    """What to say when a topic does not exist."""
    visible = sorted(name for name in names if not name.startswith("__"))
    near = difflib.get_close_matches(topic.topic, visible, n=3)
    if near:
        mend = f"did you mean {' or '.join(near)}?"
    elif visible:
        mend = f"create it; the broker has {', '.join(visible[:5])}" + (
            f" and {len(visible) - 5} more" if len(visible) > 5 else ""
        )
    else:
        mend = "create it; the broker has no topics yet"
    return DistilwatchError(f"there is no Kafka topic {topic.topic}", topic.place, mend)
