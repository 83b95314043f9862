"""Known texts as users meet them: the command, the settings, and what `detect` says."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipelines import cli
from pipelines.config import load_config
from pipelines.detect import DetectOptions, Plan, make_plan
from pipelines.labels import read_labels
from pipelines.parts import known_texts
from schemas.errors import DistilwatchError
from tests.support.commands import query, result, run
from transforms.ingest.known import open_collection

TEXTS = [f"How far is it from the market of town {n} to the nearest harbour?" for n in range(30)]


def call(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    code = cli.run([str(arg) for arg in args])
    out, err = capsys.readouterr()
    return code, out, err


def build(*inputs: Path, out: Path, name: str = "towns", **more: object) -> list[object]:
    args: list[object] = ["known-texts", "build", "--name", name, "--kind", "benchmark"]
    for path in inputs:
        args += ["--input", path]
    for option, value in more.items():
        args += ["--" + option.replace("_", "-"), *([] if value is True else [value])]
    return [*args, "--out", out]


# --- building and showing ------------------------------------------------------------------------


def test_every_form_of_the_same_texts_makes_the_same_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "".join(json.dumps({"text": text, "n": 1}) + "\n" for text in TEXTS)
    forms = {
        "a.jsonl": lines.encode(),
        "b.jsonl.gz": gzip.compress(lines.encode()),
        "c.txt": "\r\n".join(TEXTS).encode("utf-8-sig"),
        "d.csv": ("id,text\n" + "".join(f'{i},"{t}"\n' for i, t in enumerate(TEXTS))).encode(),
        "folder/deep/e.txt.gz": gzip.compress("\n\n".join(TEXTS).encode()),
        "folder/ignored.md": b"nothing",
    }
    for name, data in forms.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    made = []
    for name in ("a.jsonl", "b.jsonl.gz", "c.txt", "d.csv", "folder"):
        out = tmp_path / "out.known"
        code, _, err = call(capsys, *build(tmp_path / name, out=out))
        assert code == 0, err
        made.append(out.read_bytes())
    assert len(set(made)) == 1


def test_the_field_and_whole_files_can_be_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": "no", "q": t}) + "\n" for t in TEXTS))
    text = tmp_path / "text.txt"
    text.write_text("\n".join(TEXTS))
    out = tmp_path / "out.known"
    assert call(capsys, *build(rows, out=out, field="q"))[0] == 0
    assert open_collection(out).about.texts == len(TEXTS)
    assert call(capsys, *build(text, out=out, whole_files=True))[0] == 0
    assert open_collection(out).about.texts == 1


def test_show_says_what_build_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts, out = tmp_path / "texts.txt", tmp_path / "out.known"
    texts.write_text("\n".join([*TEXTS, *TEXTS, "ok", "thanks"]))
    built = json.loads(call(capsys, *build(texts, out=out, false_positives=0.01), "--json")[1])
    shown = json.loads(call(capsys, "known-texts", "show", out, "--json")[1])
    assert built["texts"] == shown["texts"] == len(TEXTS)
    assert built["too_short"] == 2
    assert built["sha256"] == shown["sha256"] == open_collection(out).digest
    assert (shown["name"], shown["kind"], shown["false_positives"]) == ("towns", "benchmark", 0.01)
    assert shown["file_bytes"] == out.stat().st_size
    code, words, _ = call(capsys, "known-texts", "show", out)
    assert code == 0
    assert "Collection towns of kind benchmark: 30 distinct texts" in words


def test_the_file_holds_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts, out = tmp_path / "texts.txt", tmp_path / "out.known"
    texts.write_text("\n".join(TEXTS))
    assert call(capsys, *build(texts, out=out))[0] == 0
    data = out.read_bytes().lower()
    assert not [word for word in (b"market", b"harbour", b"nearest") if word in data]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("x.jsonl", b'{"text": "a"}\n{"txt": "secret words"}\n', "line 2): name the field"),
        ("x.jsonl", b'{"text": 3}\n', "no text in 'text'"),
        ("x.jsonl", b"secret words\n", "is no JSON object"),
        ("x.csv", b"id,question\n1,secret words\n", "no column 'text'"),
        ("x.txt", b"\xff\xfe\x00secret words", "not UTF-8"),
        ("x.txt.gz", b"secret words", "is not gzip, or damaged"),
        ("x.txt", b"hi\nyes\n", "no text is long enough"),
        ("x.md", b"secret words", "kind of file is not known"),
    ],
)
def test_what_is_wrong_with_texts_is_said_without_quoting_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, data: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(data)
    code, _, err = call(capsys, *build(tmp_path / name, out=tmp_path / "out.known"))
    assert code == 2
    assert said in err
    assert "secret words" not in err
    assert not (tmp_path / "out.known").exists()


def test_all_problems_of_build_are_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    args = build(tmp_path / "none.txt", tmp_path / "empty", out=tmp_path, name="?")
    code, _, err = call(capsys, *args)
    assert code == 2
    assert "4 things" in err


# --- settings ------------------------------------------------------------------------------------


def test_settings_take_files_in_order_and_refuse_what_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(TEXTS))
    paths = [str(tmp_path / f"{name}.known") for name in ("b", "a", "again")]
    for path, name in zip(paths, ("b", "a", "a"), strict=True):
        assert call(capsys, *build(texts, out=Path(path), name=name))[0] == 0

    def opened(files: list[str]) -> list[str]:
        config = load_config(None, {"ingest.known_texts": files})
        return [about.name for about in known_texts(config).collections]

    assert opened(paths[:2]) == ["b", "a"]
    assert opened([]) == []
    with pytest.raises(DistilwatchError, match="two collections have the name 'a'"):
        opened(paths)
    with pytest.raises(DistilwatchError, match="cannot be read"):
        opened([*paths[:1], str(tmp_path / "missing.known")])
    with pytest.raises(DistilwatchError, match="at most 16 long"):
        opened(paths * 6)


@pytest.mark.parametrize("command", ["train", "detect"])
def test_a_file_that_is_missing_is_told_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"ingest:\n  known_texts: [{tmp_path}/gone.known]\n")
    (tmp_path / "events.jsonl").write_text("{}\n")
    output = ["--output", f"duckdb:///{tmp_path}/out.duckdb"] if command == "detect" else []
    code, _, err = call(
        capsys, command, "--input", tmp_path / "events.jsonl", "--bundle", tmp_path / "bundle",
        "--config", settings, *output,
    )  # fmt: skip
    assert code == 2
    assert f"known texts cannot be read (No such file or directory) ({tmp_path}/gone.known)" in err
    assert not (tmp_path / "out.duckdb").exists()


# --- the whole way -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """A small run with a replayed collection and a benchmark, in which everything is flagged."""

    folder: Path
    home: Path
    kinds: dict[str, str]
    flagged: list[dict[str, Any]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("known")
    home = folder / "home"
    result(
        "simulate", "--out", folder / "live.jsonl", "--history", folder / "history.jsonl",
        "--labels", folder / "labels.jsonl", "--accounts", 120, "--events", 7_000,
        "--days", 8, "--history-days", 5, "--attack", "replay:m=6,rate=60,links=1", home=home,
    )  # fmt: skip
    kinds = {name: label.kind for name, label in read_labels(folder / "labels.jsonl").items()}
    events = [orjson.loads(line) for line in (folder / "live.jsonl").read_bytes().splitlines()]
    for kind, of, name in (
        ("benchmark", "evaluator", "exam"),
        ("extraction", "replay", "leak"),
    ):
        texts = {e["prompt_text"] for e in events if kinds[e["account_id"]] == of}
        (folder / f"{name}.txt").write_text("\n".join(text.replace("\n", " ") for text in texts))
        result(
            "known-texts", "build", "--input", folder / f"{name}.txt", "--name", name,
            "--kind", kind, "--out", folder / f"{name}.known", home=home,
        )  # fmt: skip
    (folder / "settings.yaml").write_text(
        f"ingest:\n  known_texts: [{folder}/exam.known, {folder}/leak.known]\n"
        "alerts: {max_p: 1.0, pages_per_day: 100000, control: budget}\n"
        "clusters: {null_groups: 100}\n"
    )
    with_settings = ("--config", folder / "settings.yaml")
    result(
        "train", "--input", folder / "history.jsonl", "--bundle", folder / "bundle",
        *with_settings, home=home,
    )  # fmt: skip
    result(
        "detect", "--input", folder / "live.jsonl", "--bundle", folder / "bundle", "--output",
        f"duckdb:///{folder / 'out.duckdb'}", *with_settings, home=home,
    )  # fmt: skip
    rows = query(
        folder / "out.duckdb",
        """SELECT c.cluster_id, c.severity, c.severity_reason, c.tactics, c.known_texts,
             c.request_count, list(m.account_id)
           FROM flagged_clusters c JOIN cluster_members m USING (cluster_id, revision)
           GROUP BY ALL""",
    )
    names = ("id", "severity", "reason", "tactics", "known", "requests", "accounts")
    return Run(folder, home, kinds, [dict(zip(names, row, strict=True)) for row in rows])


def of_kind(found: Run, kind: str) -> list[dict[str, Any]]:
    return [row for row in found.flagged if {found.kinds[a] for a in row["accounts"]} == {kind}]


def test_a_replay_is_named_with_its_collection(found: Run) -> None:
    replays = [row for row in of_kind(found, "replay") if row["requests"] >= 20]
    assert replays
    for row in replays:
        assert "replay" in row["tactics"]
        (first, *_) = row["known"]
        assert (first["name"], first["kind"]) == ("leak", "extraction")
        assert first["share"] == first["requests"] / row["requests"] > 0.9
        assert row["reason"] is None


def test_an_evaluator_is_told_apart(found: Run) -> None:
    evaluators = [row for row in of_kind(found, "evaluator") if row["requests"] >= 20]
    assert evaluators
    for row in evaluators:
        assert "benchmark_evaluation" in row["tactics"]
        assert row["severity"] == "low"
        assert "public benchmarks (exam" in row["reason"]


def test_people_and_businesses_are_neither(found: Run) -> None:
    rows = of_kind(found, "person") + of_kind(found, "business")
    assert len(rows) > 20
    assert not [r for r in rows if {"replay", "benchmark_evaluation"} & set(r["tactics"])]
    assert all(row["reason"] is None for row in rows)


def test_explain_and_the_report_say_it(found: Run) -> None:
    output = f"duckdb:///{found.folder / 'out.duckdb'}"
    row = next(row for row in of_kind(found, "evaluator") if row["reason"])
    said = run("explain", row["id"], "--output", output, home=found.home).stdout
    words = " ".join(said.split())
    assert "asks the questions of public benchmarks" in words
    assert "in exam (benchmark)" in words
    assert "Severity lowered: " in words
    page = found.folder / "report.html"
    run("report", "--output", output, "--html", page, home=found.home)
    assert "replays known prompts of an extraction" in page.read_text(encoding="utf-8")


def test_scores_say_the_share_of_every_account(found: Run) -> None:
    [(least, most)] = query(
        found.folder / "out.duckdb",
        """SELECT min(value), max(value) FROM (SELECT unnest(features, recursive := true)
           FROM session_scores WHERE level = 'profile') WHERE name = 'known_share'""",
    )
    assert 0 <= least < 0.1
    assert 0.9 < most <= 1


def test_other_collections_are_another_run_and_those_of_the_bundle_are_expected(
    found: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILWATCH_HOME", str(found.home))
    exam, leak = (str(found.folder / f"{name}.known") for name in ("exam", "leak"))

    def plan(files: list[str]) -> Plan:
        config = load_config(None, {"ingest.known_texts": files})
        inputs = [str(found.folder / "live.jsonl")]
        return make_plan(
            DetectOptions(inputs, found.folder / "bundle", [], config, "direct", None, [])
        )

    assert not plan([exam, leak]).warnings
    for files in ([], [exam], [leak, exam]):
        (warning,) = plan(files).warnings
        assert "than those that the bundle was trained with" in warning

    changed = tmp_path / "changed.known"
    names = [plan([str(shutil.copy(path, changed))]).run_id for path in (exam, leak, exam)]
    assert names[0] == names[2] != names[1]
