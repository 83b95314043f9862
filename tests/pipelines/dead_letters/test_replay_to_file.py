"""Which replayed letters a file of lines can hold."""

from __future__ import annotations

from pathlib import Path

from pipelines.dead_letters.raw import Found
from pipelines.dead_letters.replay import to_file
from pipelines.dead_letters.table import OPEN, REPLAYED, STILL_REFUSED, Letter
from tests.support.gateways import protobuf


def found(offset: int, raw: bytes) -> Found:
    letter = Letter(
        "topic", 0, offset, "late", "", "", len(raw), None, None, "run", None, OPEN, "", ""
    )
    return Found(letter, raw)


def test_what_is_no_line_of_json_is_kept_for_a_topic(tmp_path: Path) -> None:
    path = tmp_path / "again.jsonl"
    span = {"traceId": "0" * 32, "spanId": "0" * 16, "name": "chat"}
    request = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    records = [b'{"a":\n 1}', b"\0\0\0\0\1avro", protobuf(request), b' [{"b": 2}]\r\n']
    outcomes = to_file(path, [found(i, raw) for i, raw in enumerate(records)])
    assert [o.status for o in outcomes] == [REPLAYED, STILL_REFUSED, STILL_REFUSED, REPLAYED]
    assert ["give a topic" in o.reason for o in outcomes] == [False, True, True, False]
    assert path.read_bytes() == b'{"a":  1}\n [{"b": 2}]  \n'
    assert path.stat().st_mode & 0o777 == 0o600
