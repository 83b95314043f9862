"""Schemas by id from a schema registry, and records in the wire format that goes with it.

A record begins with a zero byte and the schema's id, four bytes, big-endian; its Avro or JSON
follows. Schemas never change under an id, so each is fetched once. An id that the registry does not
know is asked for again after a while, because a registry may be behind. When the registry does not
answer, reading waits: records are neither refused nor lost for that. After `patience_s` it gives
up with a clear message, and a restart goes on where the last results were.

A record is resolved to contract 1 by the names of its fields, as Avro resolves a writer's schema to
a reader's: fields that we do not know are skipped, those that are missing take their default, and
numbers are promoted. Where producers are freer than contract 1 we are, too: enums are texts,
timestamps are times, bytes are the numbers of a vector.
"""

from __future__ import annotations

import io
import json
import logging
import os
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

import fastavro
import httpx
from fastavro.schema import SchemaParseException, UnknownType

from schemas.errors import DistilwatchError

_log = logging.getLogger(__name__)
MAGIC = b"\0"
_HEADER = struct.Struct(">bI")
_SCHEMAS = "application/vnd.schemaregistry.v1+json, application/json"
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 10.0
_UNKNOWN_S = 30.0
_MOST_UNKNOWN = 10_000
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


class UnknownSchema(Exception):
    """The registry has no schema of this id."""


class UnusableSchema(Exception):
    """The registry's schema is of a kind that cannot be read here."""


@dataclass(frozen=True, slots=True)
class Writer:
    """How records of one schema id were written.

    Attributes:
      schema_id: in the registry.
      avro: the parsed schema; None: records are JSON.
    """

    schema_id: int
    avro: Any

    def read(self, payload: bytes) -> Any:
        """The record as a dict, from the bytes after the header.

        Raises:
          ValueError: they are no record of this schema.
        """
        stream = io.BytesIO(payload)
        try:
            record = fastavro.schemaless_reader(stream, self.avro, None)
        except Exception as error:
            # Whatever fastavro stumbles over in strange bytes: struct, index, unicode, memory …
            raise ValueError(type(error).__name__) from None
        if stream.read(1):
            raise ValueError("bytes are left over")
        if not isinstance(record, dict):
            raise ValueError("no record")
        return {name: _plain(value) for name, value in record.items()}


def _plain(value: Any) -> Any:
    """Logical types as contract 1 has them: times are milliseconds or RFC 3339. A time without a
    zone is taken as UTC, as everywhere, and not as the worker's own."""
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        return round(moment.timestamp() * 1000)
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def schema_id(raw: bytes) -> int | None:
    """The id that a record begins with; None for a record without one."""
    if not raw.startswith(MAGIC) or len(raw) < _HEADER.size:
        return None
    return int(_HEADER.unpack_from(raw)[1])


def payload(raw: bytes) -> bytes:
    """What follows the id."""
    return raw[_HEADER.size :]


def framed(schema: int, data: bytes) -> bytes:
    """A record in the wire format."""
    return _HEADER.pack(0, schema) + data


@dataclass
class SchemaRegistry:
    """Fetches and remembers schemas.

    Attributes:
      url: of the registry.
      user, password_env, token_env: HTTP Basic, or a bearer token, from environment variables.
      ca_file: of the registry's certificate; None: those of the system.
      timeout_s: of one request.
      patience_s: how long to wait for a registry that does not answer.
      clock, sleep: seconds, and waiting for some.
    """

    url: str
    user: str | None = None
    password_env: str | None = None
    token_env: str | None = None
    ca_file: str | None = None
    timeout_s: float = 5.0
    patience_s: float = 300.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _known: dict[int, Writer | str] = field(default_factory=dict, repr=False)
    _unknown: dict[int, float] = field(default_factory=dict, repr=False)
    _client: httpx.Client | None = field(default=None, repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def __reduce__(self) -> tuple[object, ...]:
        # Workers have memories and connections of their own; secrets stay in the environment.
        return SchemaRegistry, (
            self.url, self.user, self.password_env, self.token_env, self.ca_file, self.timeout_s,
            self.patience_s,
        )  # fmt: skip

    def writer(self, schema: int) -> Writer:
        """How records of a schema were written.

        Raises:
          UnknownSchema: the registry does not know it.
          UnusableSchema: it is neither Avro nor JSON, or is broken.
          DistilwatchError: the registry refuses us, or stays away.
        """
        # Known ones go on being read while another is waited for.
        found = self._known.get(schema)
        if found is None:
            with self._lock:
                found = self._known.get(schema) or self._fetch(schema)
        if isinstance(found, str):
            # A new one each time: one that is kept grows by a trace, and what that holds, a record.
            raise UnusableSchema(found)
        return found

    def _fetch(self, schema: int) -> Writer | str:
        if self.clock() < self._unknown.get(schema, 0.0):
            raise UnknownSchema
        told = self._get(f"/schemas/ids/{schema}")
        if told is None:
            # Ids in spoilt records are any number: what is remembered of them has an end.
            if len(self._unknown) >= _MOST_UNKNOWN:
                self._unknown.clear()
            self._unknown[schema] = self.clock() + _UNKNOWN_S
            raise UnknownSchema
        self._unknown.pop(schema, None)
        made = self._made(schema, told)
        self._known[schema] = made
        return made

    def _made(self, schema: int, told: Mapping[str, Any]) -> Writer | str:
        """How its records were written, or why they cannot be read."""
        kind = str(told.get("schemaType") or "AVRO")
        if kind == "JSON":
            return Writer(schema, None)
        if kind != "AVRO":
            return f"{kind.lower()[:20]} is not read here"
        try:
            named: dict[str, Any] = {}
            self._name_references(told.get("references") or (), named, set())
            parsed = fastavro.parse_schema(json.loads(told["schema"]), named_schemas=named)
        except (SchemaParseException, UnknownType, ValueError, KeyError, TypeError) as error:
            return f"the schema cannot be understood ({type(error).__name__})"
        return Writer(schema, parsed)

    def _name_references(
        self, references: Any, named: dict[str, Any], seen: set[tuple[str, int]]
    ) -> None:
        """Parses the schemas that another one refers to, innermost first."""
        for one in references:
            place = str(one["subject"]), int(one["version"])
            if place in seen:
                continue
            seen.add(place)
            told = self._get(f"/subjects/{quote(place[0], safe='')}/versions/{place[1]}")
            if told is None:
                raise KeyError(place[0])
            self._name_references(told.get("references") or (), named, seen)
            fastavro.parse_schema(json.loads(told["schema"]), named_schemas=named)

    def check(self) -> None:
        """Raises DistilwatchError when the registry does not answer, or refuses us."""
        patience, self.patience_s = self.patience_s, 0.0
        try:
            self._get("/schemas/types")
        finally:
            self.patience_s = patience

    def _get(self, path: str) -> Mapping[str, Any] | None:
        """An answer; None for what is not there.

        Raises:
          DistilwatchError: the registry refuses us, or stays away.
        """
        began, wait, told = self.clock(), _FIRST_WAIT_S, False
        while True:
            try:
                answer = self._opened().get(path)
                if answer.status_code == 404:
                    return None
                if answer.status_code in (401, 403):
                    raise DistilwatchError(
                        f"the schema registry refuses us ({answer.status_code})", self.place,
                        "check ingest.registry: user, password_env or token_env, and its rights",
                    )  # fmt: skip
                if answer.status_code not in _RETRIED:
                    answer.raise_for_status()
                    found: Any = answer.json()
                    return found if isinstance(found, dict) else {}
                problem = f"it answers {answer.status_code}"
            except (httpx.HTTPError, ValueError) as error:
                problem = type(error).__name__
            if self.clock() - began >= self.patience_s:
                raise DistilwatchError(
                    f"the schema registry does not answer ({problem})", self.place,
                    "start it, or check ingest.registry; no record is lost, a restart reads them",
                )  # fmt: skip
            if not told:
                told = True
                _log.warning("%s: the schema registry does not answer (%s); reading waits for it",
                             self.place, problem)  # fmt: skip
            self.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)

    @property
    def place(self) -> str:
        """For messages: no user."""
        return str(httpx.URL(self.url).copy_with(username=None, password=None))

    def _opened(self) -> httpx.Client:
        if self._client is None:
            headers = {"Accept": _SCHEMAS}
            if self.token_env is not None:
                headers["Authorization"] = f"Bearer {self._secret(self.token_env)}"
            auth = None
            if self.user is not None and self.password_env is not None:
                auth = httpx.BasicAuth(self.user, self._secret(self.password_env))
            verify: Any = True
            if self.ca_file is not None:
                import ssl

                verify = ssl.create_default_context(cafile=self.ca_file)
            self._client = httpx.Client(
                base_url=self.url, headers=headers, auth=auth, timeout=self.timeout_s, verify=verify
            )
        return self._client

    def _secret(self, variable: str) -> str:
        if variable not in os.environ:
            raise DistilwatchError(
                f"the environment variable {variable} is not set", "ingest.registry",
                "set it to the registry's password or token",
            )  # fmt: skip
        return os.environ[variable]
