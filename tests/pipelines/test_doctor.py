"""`doctor` and `--dry-run`: what they see, and that they change nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from infra.local.services import KafkaBroker
from pipelines import cli
from pipelines.doctor import machine
from tests.pipelines.conftest import SmallRun
from tests.support.kafka import new_topic


def call(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    code = cli.run([str(arg) for arg in args])
    out, err = capsys.readouterr()
    return code, out, err


def findings(out: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {(one["part"], one["name"]): one for one in json.loads(out)["findings"]}


def everything_in(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()
    }


def test_what_would_run_is_told_to_be_so(
    small_run: SmallRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILWATCH_HOME", str(small_run.home))
    before = everything_in(small_run.folder)
    code, out, _ = call(
        capsys, "doctor", "--json", "--input", small_run.inputs / "live.jsonl", "--bundle",
        small_run.made / "bundle", "--output", f"duckdb:///{small_run.made}/new.duckdb",
    )  # fmt: skip
    found = findings(out)
    assert code == 0, [one for one in found.values() if one["status"] == "fail"]
    assert found["bundle", str(small_run.made / "bundle")]["status"] == "ok"
    assert found["machine", "packages"]["status"] in ("ok", "warn")
    assert found["keys", "bundle-signing.pem"]["status"] == "ok"
    assert everything_in(small_run.folder) == before


def test_everything_that_is_wrong_is_told_with_its_mend(
    small_run: SmallRun, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    home = tmp_path / "home"
    home.mkdir()
    (home / "payment-hmac.key").write_text("00" * 32)
    (home / "payment-hmac.key").chmod(0o644)
    monkeypatch.setenv("DISTILWATCH_HOME", str(home))
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        "ingest: {registry: {url: 'http://127.0.0.1:9'}, dead_letter_key_env: NO_SUCH_KEY}\n"
        "flink: {master: '127.0.0.1:9'}\n"
        "scoring: {detectors: [{name: KNN, params: {neighbors: 3}}]}\n"
    )
    broken = tmp_path / "settings-2.yaml"
    broken.write_text("sesions: {}\n")
    code, out, _ = call(
        capsys, "doctor", "--json", "--config", settings, "--input", "kafka://127.0.0.1:9/t",
        "--input", tmp_path / "none.jsonl", "--bundle", small_run.made / "bundle",
        "--output", "duckdb:///no/such/folder/out.duckdb", "--runner", "flink",
    )  # fmt: skip
    found = findings(out)
    failed = {key for key, one in found.items() if one["status"] == "fail"}
    assert code == 2
    assert failed == {
        ("keys", "NO_SUCH_KEY"), ("settings", "ingest.registry"), ("settings", "scoring.detectors"),
        ("input", "kafka://127.0.0.1:9/t"), ("input", str(tmp_path / "none.jsonl")),
        ("bundle", str(small_run.made / "bundle")),  # signed by somebody whom this home trusts not
        ("output", "duckdb:///no/such/folder/out.duckdb"), ("engine", "flink"),
    }  # fmt: skip
    assert all(found[key]["mend"] for key in failed)
    assert found["keys", "payment-hmac.key"]["status"] == "warn"
    assert found["keys", "payment-hmac.key"]["mend"].startswith("chmod 600")
    _, out, _ = call(
        capsys, "doctor", "--json", "--runner", "flink", "--flink-master", "127.0.0.1:8"
    )
    assert "127.0.0.1:8" in str(findings(out)["engine", "flink"])
    code, out, _ = call(capsys, "doctor", "--json", "--config", broken)
    assert code == 2
    assert "did you mean sessions?" in findings(out)["settings", "file"]["said"]
    assert not os.environ.get("NO_SUCH_KEY")


def test_what_detect_would_refuse_is_seen_and_what_it_would_not_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path / "home"))
    endless = "kafka://127.0.0.1:9/t?bounded=false"
    table = "bigquery://project-1/dataset/table"
    _, out, _ = call(
        capsys, "doctor", "--json", "--input", endless, "--input", table, "--input-format", "kong",
        "--runner", "direct", "--", "--no_such_option=1",
    )  # fmt: skip
    found = findings(out)
    for key, words in {
        ("engine", "direct"): "cannot read an endless topic",
        ("engine", "Beam's options"): "no option --no_such_option",
        ("settings", "ingest.format"): "not read as kong",
        ("input", endless.split("?")[0]): "",
    }.items():
        assert found[key]["status"] == "fail", key
        assert words in found[key]["said"]
    # Its broker is the workers' to reach, and `detect` does not ask it either.
    _, out, _ = call(capsys, "doctor", "--json", "--input", endless, "--runner", "dataflow")
    assert findings(out)["input", endless.split("?")[0]]["status"] == "skip"


def test_a_clock_that_is_wrong_is_seen() -> None:
    import time

    assert machine.clock(("there", time.time() + 3_600), 600_000).status == "fail"
    assert "behind there" in machine.clock(("there", time.time() + 3_600)).said
    assert machine.clock(("there", time.time() - 5)).status in ("ok", "warn")


def test_packages_of_another_version_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def older(name: str) -> str:
        if name == "duckdb":
            raise machine.metadata.PackageNotFoundError(name)
        return "0.0.1"

    monkeypatch.setattr(machine.metadata, "version", older)
    found = machine.locked()
    assert (found.status, found.said) == ("fail", "1 missing: duckdb")


@pytest.mark.kafka
def test_a_topic_is_looked_into(
    kafka: KafkaBroker, small_run: SmallRun, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("DISTILWATCH_HOME", str(small_run.home))
    topic = new_topic(kafka, 3)
    topic.produce((i % 3, b"{}") for i in range(12))
    code, out, _ = call(capsys, "doctor", "--json", "--input", topic.uri)
    assert code == 0
    assert "3 partitions, 12 records" in findings(out)["input", topic.uri]["said"]
    database = tmp_path / "out.duckdb"
    code, out, _ = call(
        capsys, "detect", "--dry-run", "--input", topic.uri + "?bounded=false", "--bundle",
        small_run.made / "bundle", "--output", f"duckdb:///{database}", "--for", "1 h",
        "--input-format", "kong",
    )  # fmt: skip
    assert code == 0
    text = " ".join(out.split())
    for words in (
        "by Prism, for 1 h", "3 partitions from earliest, 12 records and on from there",
        "account_id from consumer.custom_id or consumer.username or consumer.id",
        "ends with a pause of 30 min", "at most 57 KiB", "committed every 5 s",
        "Nothing was run or written.",
    ):  # fmt: skip
        assert words in text
    assert not database.exists()


def test_a_dry_run_explains_a_bounded_job_for_machines_too(
    small_run: SmallRun, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("DISTILWATCH_HOME", str(small_run.home))
    args = (
        "detect", "--dry-run", "--json", "--input", small_run.inputs / "live.jsonl", "--bundle",
        small_run.made / "bundle", "--output", f"parquet:///{tmp_path}/tables",
    )  # fmt: skip
    code, out, _ = call(capsys, *args)
    told = json.loads(out)
    assert code == 0
    assert told["dry_run"] is True
    assert list(told["plan"]) == [
        "run", "sources", "windows", "state_per_key", "flagged", "sinks", "cost"
    ]  # fmt: skip
    assert not (tmp_path / "tables").exists()
    # What was explained is what is done: the run has the name that was told.
    assert told["run_id"].startswith("run-")


def test_a_password_in_an_address_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ("kafka://me:hunter2@h:1/t", "kafka://me:hunter2?2@h:1/t"):
        code, out, err = call(capsys, "doctor", "--json", "--input", wrong, "--output", wrong)
        assert code != 0
        assert "hunter2" not in out + err
