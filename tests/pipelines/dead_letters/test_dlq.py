"""`distilwatch dlq`, on what `detect` refused: nothing lost, nothing doubled, nothing told."""

from __future__ import annotations

import base64
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from infra.local.services import KafkaBroker
from pipelines import cli
from tests.support.commands import query
from tests.support.kafka import new_topic
from tests.support.small_world import as_lines, requests, settings_file

HOUR = 3_600_000
KEY = base64.b64encode(b"k" * 32).decode()
OTHER_KEY = base64.b64encode(b"o" * 32).decode()
SEALED = "ingest: {dead_letter_key_env: LETTER_KEY, max_future: 10 min}\n"
# The fix: an event may be from further ahead.
FIXED = "ingest: {dead_letter_key_env: LETTER_KEY, max_future: 30 d}\n"
BARE, BARE_FIXED = "ingest: {max_future: 10 min}\n", "ingest: {max_future: 30 d}\n"


def settings(folder: Path, text: str) -> Path:
    path = settings_file(folder)
    merged = path.read_text().replace("ingest: {", "ingest: {" + text[len("ingest: {") : -2] + ", ")
    path = folder / f"{abs(hash(text))}.yaml"
    path.write_text(merged)
    return path


def records() -> list[bytes]:
    """Forty good ones, seven from the future, and six that nothing can mend."""
    ahead = time.time_ns() // 1_000_000 + 24 * HOUR
    good = as_lines(requests(4, 10, HOUR))
    future = as_lines(requests(1, 7, HOUR, start_ms=ahead, seed=1, prefix="early"))
    spoilt = [b"{", b"secret prompt in no json", b'{"event_id": "x"}', b"[1]", b"null", b"\xff"]
    return [x for trio in zip(good[:6], future[:6], spoilt, strict=True) for x in trio] + [
        *good[6:], future[6],
    ]  # fmt: skip


def run(*arguments: object, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    code = cli.run([*map(str, arguments), "--json"])
    out = capsys.readouterr()
    assert code == 0, out.out + out.err
    found: dict[str, Any] = json.loads(out.out)
    return found


def health(database: Path, run_id: str) -> dict[str, int]:
    rows = query(database, f"SELECT metric, value FROM run_health WHERE run_id = '{run_id}'")
    return dict(rows)


class Place:
    """Files of a test."""

    def __init__(self, folder: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.bundle, self.capsys = folder, bundle, capsys
        self.database = folder / "out.duckdb"
        self.output = ("--output", f"duckdb:///{self.database}")

    def detect(self, source: object, config: str, run_id: str) -> dict[str, Any]:
        return run(
            "detect", "--input", source, "--bundle", self.bundle, *self.output,
            "--config", settings(self.folder, config), "--run-id", run_id, capsys=self.capsys,
        )  # fmt: skip

    def dlq(self, *arguments: object, config: str | None = None) -> dict[str, Any]:
        more = () if config is None else ("--config", settings(self.folder, config))
        return run("dlq", *arguments, *self.output, *more, capsys=self.capsys)

    def statuses(self) -> Counter[str]:
        counts = self.dlq("list", "--limit", 1)["counts"]
        found: Counter[str] = Counter()
        for one in counts:
            found[one["status"]] += one["letters"]
        return found


@pytest.fixture
def place(
    tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Place:  # fmt: skip
    monkeypatch.setenv("LETTER_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, bundle, capsys)


@pytest.fixture
def refused(place: Place) -> Place:
    """After a run over a file."""
    (place.folder / "live.jsonl").write_bytes(b"\n".join(records()) + b"\n")
    place.detect("live.jsonl", SEALED, "first")
    return place


def test_the_list_counts_what_the_run_refused(refused: Place) -> None:
    listed = refused.dlq("list")
    counts = health(refused.database, "first")
    assert listed["total"] == counts["refused"] == 13
    by_reason = {one["reason"]: one["letters"] for one in listed["counts"]}
    assert by_reason == {
        name.removeprefix("refused_"): n for name, n in counts.items() if "refused_" in name
    }
    assert by_reason["time_in_future"] == 7
    one = refused.dlq("list", "--reason", "time_in_future", "--limit", 2)
    assert (one["total"], len(one["letters"])) == (7, 2)
    assert refused.statuses() == {"open": 13}


def test_no_prompt_is_in_the_database_or_shown_unless_asked_for(
    refused: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert b"secret prompt" not in refused.database.read_bytes()
    letter = refused.dlq("list", "--reason", "time_in_future")["letters"][0]
    assert letter["kept"]
    config = ("--config", settings(refused.folder, SEALED))
    show = ["dlq", "show", letter["id"][:10], *map(str, (*refused.output, *config))]
    assert cli.run(show) == 0
    told = capsys.readouterr()
    assert letter["raw_sha256"] in told.out
    assert "secret" not in told.out + told.err
    assert cli.run([*show, "--reveal"]) == 0
    told = capsys.readouterr()
    assert "secret prompt" in told.out
    assert "in the clear" in told.err
    monkeypatch.setenv("LETTER_KEY", OTHER_KEY)
    assert cli.run([*show, "--reveal"]) == 2
    told = capsys.readouterr()
    assert "not among those given" in told.err
    assert "secret" not in told.out + told.err
    bare = [*show[:-1], str(settings(refused.folder, BARE)), "--reveal"]
    assert cli.run(bare) == 2
    assert "only shown with the key" in capsys.readouterr().err


def test_a_second_run_writes_the_same_rows(refused: Place) -> None:
    everything = "SELECT * FROM dead_letters ORDER BY ALL"
    before = query(refused.database, everything)
    refused.detect("live.jsonl", SEALED, "first")
    assert query(refused.database, everything) == before


def test_keys_are_changed_without_losing_a_letter(
    refused: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LETTER_KEY", f"{OTHER_KEY},{KEY}")
    assert refused.dlq("rekey", config=SEALED).items() >= {"sealed_anew": 13, "kept": 13}.items()
    assert refused.dlq("rekey", config=SEALED).items() >= {"sealed_anew": 0, "kept": 13}.items()
    monkeypatch.setenv("LETTER_KEY", OTHER_KEY)
    (refused.folder / "live.jsonl").unlink()
    tried = refused.dlq("replay", config=FIXED)
    assert (tried["replayed"], tried["still_refused"], tried["gone"]) == (7, 6, 0)
    assert refused.statuses() == {"open": 13}  # only tried


def test_a_replay_to_a_file_sends_each_letter_once_and_it_adds_up(refused: Place) -> None:
    target = refused.folder / "again.jsonl"
    first = refused.dlq("replay", "--to", target, config=FIXED)
    assert (first["letters"], first["replayed"], first["still_refused"]) == (13, 7, 6)
    assert first["reasons"]["not_json"] == 3
    assert target.stat().st_mode & 0o777 == 0o600
    assert len(target.read_bytes().splitlines()) == 7
    second = refused.dlq("replay", "--to", target, config=FIXED)
    assert (second["letters"], second["replayed"], second["still_refused"]) == (6, 0, 6)
    assert len(target.read_bytes().splitlines()) == 7
    assert refused.statuses() == {"replayed": 7, "still_refused": 6}
    # What was refused is scored at last, once, though the copy comes with the record itself.
    again = refused.detect("*.jsonl", FIXED, "second")["health"]
    assert again["read"] == 53 + 7
    assert (again["scored"], again["duplicate"], again["refused"]) == (47, 7, 6)
    assert refused.statuses() == {"replayed": 7, "still_refused": 6}


def test_letters_in_parquet_files_are_sealed_anew_and_sent_once_too(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.output = ("--output", f"parquet:///{place.folder / 'tables'}")
    (place.folder / "live.jsonl").write_bytes(b"\n".join(records()) + b"\n")
    place.detect("live.jsonl", SEALED, "first")
    monkeypatch.setenv("LETTER_KEY", f"{OTHER_KEY},{KEY}")
    assert place.dlq("rekey", config=SEALED).items() >= {"sealed_anew": 13, "kept": 13}.items()
    assert place.dlq("rekey", config=SEALED).items() >= {"sealed_anew": 0, "kept": 13}.items()
    monkeypatch.setenv("LETTER_KEY", OTHER_KEY)
    target = place.folder / "again.jsonl"
    first = place.dlq("replay", "--to", target, config=FIXED)
    assert (first["replayed"], first["still_refused"], first["wrote"]) == (7, 6, [str(target)])
    second = place.dlq("replay", "--to", target, config=FIXED)
    assert (second["replayed"], second["still_refused"], second["wrote"]) == (0, 6, [])
    assert len(target.read_bytes().splitlines()) == 7
    assert place.statuses() == {"replayed": 7, "still_refused": 6}


def test_without_a_key_the_file_itself_is_read_as_long_as_it_is_the_same(place: Place) -> None:
    live = place.folder / "live.jsonl"
    live.write_bytes(b"\n".join(records()) + b"\n")
    place.detect("live.jsonl", BARE, "first")
    assert not any(x["kept"] for x in place.dlq("list")["letters"])
    tried = place.dlq("replay", config=BARE_FIXED)
    assert (tried["replayed"], tried["still_refused"], tried["gone"]) == (7, 6, 0)
    live.write_bytes(b" " + live.read_bytes())
    tried = place.dlq("replay", "--to", place.folder / "x.jsonl", config=BARE_FIXED)
    assert tried["gone"] == 13
    assert tried["reasons"] == {"its file has changed": 13}
    assert place.statuses() == {"gone": 13}


def test_a_replay_straight_into_detect_makes_the_tables_of_a_run_without_the_fault(
    refused: Place,
) -> None:
    refused.detect("live.jsonl", FIXED, "clean")
    scores = "SELECT session_id, revision, score, p_value FROM session_scores ORDER BY ALL"
    wanted = query(refused.database, scores)
    refused.database.unlink()
    refused.detect("live.jsonl", SEALED, "first")
    assert query(refused.database, scores) != wanted
    # The letters are kept, so that the records themselves need not be in the input any more.
    kept = as_lines(requests(4, 10, HOUR))
    (refused.folder / "good.jsonl").write_bytes(b"\n".join(kept) + b"\n")
    done = refused.dlq(
        "replay", "--to", "detect", "--input", "good.jsonl", "--bundle", refused.bundle,
        config=FIXED,
    )  # fmt: skip
    assert (done["replayed"], done["still_refused"]) == (7, 6)
    assert query(refused.database, scores) == wanted
    assert refused.statuses() == {"replayed": 7, "still_refused": 6}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--to", "detect"), "needs --input"),
        (("--to", "x.csv"), "a .jsonl file, or detect"),
        (("--input", "live.jsonl"), "go with --to detect only"),
    ],
)
def test_mistakes_are_told_before_anything_is_done(
    refused: Place, arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["dlq", "replay", *refused.output, *arguments]) == 2
    assert words in capsys.readouterr().err
    assert refused.statuses() == {"open": 13}


@pytest.mark.kafka
def test_a_replay_to_the_topic_goes_to_the_old_partition_with_key_and_headers(
    kafka: KafkaBroker, place: Place
) -> None:
    from kafka import KafkaProducer

    topic = new_topic(kafka, 2)
    producer = KafkaProducer(bootstrap_servers=kafka.address)
    for i, value in enumerate(records()):
        producer.send(
            topic.name, value, key=b"key-%d" % i, headers=[("trace", b"t%d" % i)], partition=i % 2
        )
    producer.close()
    place.detect(topic.uri, BARE, "first")
    before = {(r.partition, r.offset): r for r in topic.records()}

    done = place.dlq("replay", "--from", topic.uri, "--to", topic.uri, config=BARE_FIXED)
    assert (done["replayed"], done["still_refused"], done["gone"]) == (7, 6, 0)
    new = [r for r in topic.records() if (r.partition, r.offset) not in before]
    assert len(new) == 7
    for record in new:
        headers = dict(record.headers)
        source, partition, offset = headers["distilwatch-replay-of"].decode().rsplit("/", 2)
        old = before[int(partition), int(offset)]
        assert source == f"kafka://{topic.name}"
        assert (record.partition, record.key, record.value) == (old.partition, old.key, old.value)
        assert headers["trace"] == dict(old.headers)["trace"]

    # A second time there is nothing to send.
    done = place.dlq("replay", "--from", topic.uri, "--to", topic.uri, config=BARE_FIXED)
    assert done["replayed"] == 0
    assert len(topic.records()) == len(before) + 7

    # Without the fix the copies are refused once more, and their letters say so.
    place.detect(topic.uri, BARE, "second")
    assert health(place.database, "second")["refused"] == 13 + 7
    assert place.dlq("list")["total"] == 13 + 7
    assert place.statuses() == {"still_refused": 6 + 7, "open": 7}

    # Where retention has taken the records, and no key was there, the letters are gone.
    for partition in (0, 1):
        topic.delete_before(partition, max(o for p, o in before if p == partition) + 1)
    done = place.dlq("replay", "--from", topic.uri, "--to", topic.uri, config=BARE_FIXED)
    assert (done["gone"], done["replayed"]) == (13, 7)
