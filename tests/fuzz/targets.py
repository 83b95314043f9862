"""Parsers of what others send or write, each with good inputs, and what it may say of bad ones."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from hypothesis import strategies as st

from schemas.errors import DistilwatchError
from tests.fuzz.mutation import as_json, mangled, mutated
from tests.support import gateways
from transforms.ingest.batch import RecordBatch
from transforms.ingest.decode import Decoder
from transforms.ingest.formats import adapter_of
from transforms.ingest.pseudonyms import Pseudonymiser
from transforms.ingest.registry import SchemaRegistry

SECRET = "a prompt that nobody may see"
EVENT: dict[str, Any] = {
    "event_id": "e-1", "event_time": "2026-06-01T12:00:00.250Z", "account_id": "acct-1",
    "payment_fingerprint": "card-1", "account_created_at": 1_767_225_600_000,
    "account_tier": "pro", "account_segment": "api", "ip_prefix": "203.0.113.0/24",
    "asn": 64500, "model": "m", "turn_index": 1, "prompt_text": SECRET,
    "embedding": [0.5, -1.0, 2.0, 0.25], "embedding_model": "model", "input_tokens": 9,
    "temperature": 0.5, "tool_names": ["search"], "response_format": "text", "status_code": 200,
    "cost_usd": 0.01, "schema_version": 1,
}  # fmt: skip
_FOLDER = tempfile.TemporaryDirectory(prefix="distilwatch-fuzz-")  # goes with the process
_TMP = Path(_FOLDER.name)


@dataclass(frozen=True)
class Target:
    """A parser.

    Attributes:
      name: of it.
      good: inputs that it must read.
      inputs: that are nearly right.
      parse: raises for what it refuses.
      refuses: errors that are its way to refuse.
    """

    name: str
    good: tuple[Any, ...]
    inputs: st.SearchStrategy[Any]
    parse: Callable[[Any], object]
    refuses: tuple[type[Exception], ...] = (DistilwatchError,)

    def run(self, value: Any, must_read: bool = False) -> None:
        """Parses one input.

        Raises:
          Exception: that is no way to refuse one, or any when it must be read.
        """
        try:
            self.parse(value)
        except self.refuses:
            if must_read:
                raise


# --- events ---------------------------------------------------------------------------------------


def _decode(form: str) -> Callable[[bytes], None]:
    decoder = Decoder(Pseudonymiser(b"k" * 32), "model", 4, adapter=adapter_of(form, {}))
    good = as_json(EVENT if form == "events" else _GATEWAYS[form][0])

    def run(raw: bytes) -> None:
        found = decoder.decode(RecordBatch("t", 0, np.arange(3), [good, raw, good]))
        accepted, refused = len(found.events), len(found.refused)
        if form == "events":
            assert accepted + refused + found.empty == 3
        assert accepted >= 2, "a neighbour was lost"
        assert all(SECRET not in letter.detail for letter in found.refused)

    return run


_SPAN = gateways.span(EVENT)
_GATEWAYS: dict[str, list[Any]] = {
    "litellm": [gateways.litellm(EVENT), [gateways.litellm(EVENT)] * 2],
    "kong": [gateways.kong(EVENT), [gateways.kong(EVENT)] * 2],
    "otlp": [gateways.export([_SPAN, gateways.other_span(3)], tenant__id="t")],
}
_VARIANTS = [EVENT, EVENT | {"embedding": "AAAAAAAAAAA="}, {k: EVENT[k] for k in list(EVENT)[:3]}]


def _events() -> list[Target]:
    plain = [as_json(one) for one in _VARIANTS]
    targets = [
        Target("events", tuple(plain), mutated(plain) | mangled(_VARIANTS).map(as_json),
               _decode("events"))
    ]  # fmt: skip
    for form, documents in _GATEWAYS.items():
        seeds = [as_json(one) for one in documents]
        inputs = mutated(seeds) | mangled(documents).map(as_json)
        if form == "otlp":
            binary = [gateways.protobuf(documents[0])]
            seeds, inputs = seeds + binary, inputs | mutated(binary)
        targets.append(Target(form, tuple(seeds), inputs, _decode(form)))
    return targets


def _registry() -> list[Target]:
    import io

    import fastavro

    from schemas.events import avro_schema
    from transforms.ingest.registry import UnknownSchema, UnusableSchema, Writer

    schema = fastavro.parse_schema(avro_schema())
    buffer = io.BytesIO()
    fastavro.schemaless_writer(
        buffer, schema, EVENT | {"embedding": "AAAAAAAAAAA=", "account_created_at": None}
    )
    data = buffer.getvalue()
    writer = Writer(1, schema)
    told = {
        "schema": json.dumps(avro_schema()), "schemaType": "AVRO",
        "references": [{"name": "x.Y", "subject": "y", "version": 1}],
    }  # fmt: skip
    schemas = [json.dumps(avro_schema()).encode()]
    texts = mutated(schemas) | mangled([avro_schema()]).map(as_json)
    answers = texts.map(lambda text: as_json({"schema": text.decode("utf-8", "replace")}))
    return [
        Target("avro", (data,), mutated([data]), writer.read, (ValueError,)),
        Target("registry", (as_json({"schema": schemas[0].decode()}),),
               answers | mangled([told]).map(as_json), _registry_says,
               (UnknownSchema, UnusableSchema, DistilwatchError)),
    ]  # fmt: skip


def _registry_says(answer: bytes) -> None:
    """Asks a registry that answers everything with the same."""
    asked = SchemaRegistry("http://registry", clock=lambda: 0.0)
    asked._client = httpx.Client(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, content=answer)),
        base_url="http://registry",
    )
    asked.writer(1)


# --- words ----------------------------------------------------------------------------------------


def _uri(check: Callable[[str], object], servers: tuple[str, ...]) -> Callable[[str], None]:
    """A check of URIs as commands make it; those that would ask a server are left out."""
    from pipelines.preflight import Preflight

    def run(uri: str) -> None:
        look = Preflight()
        uri = uri.replace("\0", "")  # which no command line can hold
        if not uri.lower().startswith(servers):
            look.check(lambda: check(uri))
        look.finish()

    return run


def _words() -> list[Target]:
    from pipelines.durations import parse_duration
    from pipelines.preflight import check_input
    from pipelines.simulate.scenario import parse_attack, parse_start
    from transforms.bigquery import parse_bigquery_uri
    from transforms.ingest.formats.values import prefix, whole
    from transforms.ingest.kafka_uri import parse_kafka_uri
    from transforms.ingest.times import parse_times
    from transforms.sharing.private.identifiers import canonical
    from transforms.sinks import check_sink

    def text(*seeds: str) -> st.SearchStrategy[str]:
        packed = [seed.encode() for seed in seeds]
        return mutated(packed).map(lambda data: data.decode("utf-8", "replace"))

    kafka = (
        "kafka://h:9092/t?start=earliest&bounded=false", "kafka://[::1]:9092,b:1/t?group=g",
        "kafka://h:9092/t?security_protocol=SASL_SSL&sasl_plain_password_env=X",
    )  # fmt: skip
    tables = (
        "bigquery://project-1/d/t?start=2026-01-01&end=2026-02-01",
        "bigquery://project-1/d/t?location=EU",
    )
    return [
        Target("kafka-uri", kafka, text(*kafka), parse_kafka_uri),
        Target(
            "bigquery-uri", tables[:1], text(*tables), lambda uri: parse_bigquery_uri(uri, True)
        ),
        Target("input-uri", (), text("kafka://h/t", "x.jsonl", "bigquery://project-1/d/t"),
               _uri(check_input, ("kafka:",))),
        Target("output-uri", (), text("duckdb:///x.duckdb", "parquet:///x"),
               _uri(check_sink, ("kafka:", "bigquery:"))),
        Target("attack", ("hydra-disjoint:m=12,rate=46,links=1",),
               text("hydra-disjoint:m=12,rate=46,links=1", "bulk:rate=1e3,by=prompt"),
               parse_attack),
        Target("start", ("2026-06-01",), text("2026-06-01", "0001-01-01T00:00:00+23:59"),
               parse_start),
        Target("duration", ("30 min", "6 h", 5), text("30 min", "1.5 h", "28 d") | st.floats(),
               parse_duration, (ValueError,)),
        Target("times", ("2026-06-01T12:00:00Z",),
               text("2026-06-01T12:00:00.250Z", "2026-06-01T12:00:00+02:00"),
               lambda value: parse_times([value])),
        Target("address", ("203.0.113.9",), text("203.0.113.9", "2001:db8::1%eth0", "10.0.0.0/8"),
               prefix),
        Target("whole-number", ("12",), text("12", "-9223372036854775808"), whole),
        Target("identifier", ("4111 1111 1111 1111",), text("4111 1111 1111 1111", "dev-ß"),
               lambda value: canonical("payment", value), (ValueError,)),
    ]  # fmt: skip


# --- files ----------------------------------------------------------------------------------------


def _file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    path = _TMP / name

    def run(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return run


def _files() -> list[Target]:
    from pipelines.config import describe, load_config
    from pipelines.labels import read_labels
    from pipelines.sharing.policy import read_policy
    from transforms.alerts.allowlist import Allowlist
    from transforms.alerts.paging import PACKAGED, Policy
    from transforms.alerts.part import read_part
    from transforms.alerts.routing import Channels
    from transforms.ingest.known.build import Builder
    from transforms.ingest.known.file import open_collection, write_collection
    from transforms.sharing.log import ShareLog
    from transforms.sharing.private.identifiers import Sealed
    from transforms.sharing.private.sealed import Sealer, read_sealed, write_sealed
    from transforms.sharing.watch.listing import read_watch_list, write_watch_list

    settings = [describe(load_config(None)).encode(), b"ingest: {format: kong, fields: {model: x}}"]
    policy = [path.read_bytes() for path in sorted(PACKAGED.glob("*.yaml"))]
    builder = Builder()
    builder.add([f"How far is it from the market of town {n} to the harbour?" for n in range(9)])
    write_collection(_TMP / "seed.known", builder.finish("towns", "benchmark", 0.01))
    known = (_TMP / "seed.known").read_bytes()
    write_watch_list(_TMP / "seed.watch", [])
    watch = (_TMP / "seed.watch").read_bytes()
    channels = (
        b"channels: {pager: {kind: pagerduty, routing_key: {env: X}}}\n"
        b"routes: [{severity: [high], channels: [pager]}]\n"
    )
    allowed = (
        b"allow: [{name: nile, kind: contract, owner: legal, reason: a load test, "
        b"accounts: [a], expires: 2030-01-01T00:00:00Z}]\n"
    )
    sharing = b"lab: lab-a\nrecipients: {forum: {taxii: {url: 'https://x/', collection: c}}}\n"
    book = ShareLog(_TMP / "seed.log")
    for moment in range(3):
        book.append("proposed", moment, what="p-1")
    log = (_TMP / "seed.log").read_bytes()
    sealer = Sealer(b"k" * 32)
    write_sealed(
        _TMP / "seed.sealed", [Sealed("payment", "l", sealer.seal("payment", "1"))], sealer
    )
    sealed = (_TMP / "seed.sealed").read_bytes()
    labels = b'{"account_id": "a", "label": "benign", "campaign": null}\n'
    return [
        Target("settings", tuple(settings), mutated(settings), _file("s.yaml", load_config)),
        Target("policy", tuple(policy), mutated(policy),
               _file("p.yaml", lambda path: read_part(path, Policy))),
        Target("channels", (channels,), mutated([channels]),
               _file("c.yaml", lambda path: read_part(path, Channels))),
        Target("allowlist", (allowed,), mutated([allowed]),
               _file("a.yaml", lambda path: read_part(path, Allowlist))),
        Target("sharing-policy", (), mutated([sharing]), _file("sharing.yaml", read_policy)),
        Target("share-log", (log,), mutated([log]),
               _file("log.jsonl", lambda path: ShareLog(path).entries())),
        Target("sealed", (sealed,), mutated([sealed]),
               _file("s.sealed", lambda path: read_sealed(path, sealer))),
        Target("known-texts", (known,), mutated([known]), _file("k.known", open_collection)),
        Target("watch-list", (watch,), mutated([watch]), _file("w.json", read_watch_list)),
        Target("labels", (), mutated([labels]), _file("l.jsonl", read_labels)),
    ]  # fmt: skip


# --- other labs -----------------------------------------------------------------------------------


def _labs() -> list[Target]:
    from tests.transforms.sharing.test_stix import KEY, NOW_MS, an_indicator, everything
    from transforms.sharing.canonical import signed
    from transforms.sharing.payloads import decode_behaviour, decode_coverage
    from transforms.sharing.private import voprf
    from transforms.sharing.receive import Feed, receive

    feed = Feed("forum", "lab-me", {"lab-a": [KEY.public_key()], "lab-b": []})
    objects = json.loads(json.dumps(everything(), default=str))
    payload = an_indicator().payload or b'{"format":"x","features":{}}'

    def resigned(obj: Any) -> Any:
        """As a lab that is known, and hostile or broken, would sign it."""
        try:
            return signed(obj, KEY) if isinstance(obj, dict) else obj
        except (TypeError, ValueError, AttributeError, KeyError, OverflowError, DistilwatchError):
            return obj

    def hear(obj: Any) -> None:
        good = objects[0]
        heard = receive([obj, good], feed, NOW_MS + 10)
        assert all(len(refused.detail) <= 200 for refused in heard.refused)

    return [
        Target("stix", tuple(objects), mangled(objects) | mangled(objects).map(resigned), hear),
        Target("behaviour", (), mutated([payload]), decode_behaviour),
        Target("coverage", (), mutated([payload]), decode_coverage),
        Target("point", (voprf.hash_to_group(b"x"),), mutated([voprf.hash_to_group(b"x")]),
               voprf.checked_point, (voprf.BadPoint,)),
    ]  # fmt: skip


def _peers() -> list[Target]:
    """What a peer of private matching may ask; a hostile one signs what it likes."""
    from starlette.testclient import TestClient

    from transforms.sharing.private import calls, voprf
    from transforms.sharing.private.ledger import Ledger
    from transforms.sharing.private.sealed import Sealer
    from transforms.sharing.private.server import MatchOptions, MatchServer
    from transforms.sharing.private.service import match_app

    token = "t" * 40
    options = MatchOptions(batch=1, quota=1 << 40, period_ms=1 << 40, epoch_ms=1 << 40)
    server = MatchServer(Ledger(_TMP / "match.sqlite"), Sealer(b"k" * 32), options, lambda: 1)
    client = TestClient(match_app(server, {"lab-b": token}, lambda: 1))
    epoch, point = server.terms("lab-b").epoch, voprf.hash_to_group(b"x").hex()
    count = iter(range(1 << 60))

    def ask(request: tuple[str, bytes]) -> None:
        path, body = request
        nonce = f"n{next(count)}"
        method = "POST" if path == "/v1/evaluate" else "GET"
        right = calls.request_signature(token, calls.Signed("lab-b", 1, nonce, method, path, body))
        headers = {calls.PEER: "lab-b", calls.TIME: "1", calls.NONCE: nonce, calls.SIGNATURE: right}
        found = client.request(method, path, content=body, headers=headers)
        assert found.status_code < 500, found.text

    def unsigned(headers: dict[str, bytes]) -> None:
        found = client.get("/v1/terms", headers=headers)
        assert found.status_code == 401, found.text

    asked = {"epoch": epoch, "kind": "payment", "points": [point]}
    no_text = as_json(asked).replace(b"payment", b"\\ud800")  # half of a pair of surrogates
    bodies = mutated([as_json(asked)]) | mangled([asked]).map(as_json)
    numbers = st.integers().map(lambda n: (f"/v1/confirmed/payment?epoch={n}", b""))
    bytes_ = st.binary(max_size=20).map(lambda b: bytes(c for c in b if c >= 33 and c != 127))
    names = st.sampled_from([calls.PEER, calls.TIME, calls.NONCE, calls.SIGNATURE])
    return [
        Target("match-request", (("/v1/evaluate", as_json(asked)), ("/v1/evaluate", no_text)),
               bodies.map(lambda body: ("/v1/evaluate", body)) | numbers, ask),
        Target("match-headers", (), st.dictionaries(names, bytes_), unsigned),
    ]  # fmt: skip


def _all() -> Sequence[Target]:
    return [*_events(), *_registry(), *_words(), *_files(), *_labs(), *_peers()]


TARGETS: Sequence[Target] = _all()
