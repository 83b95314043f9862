"""What a run on Flink says when something is missing; no cluster."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from infra.local.services import free_ports
from pipelines import cli
from pipelines.config import load_config
from pipelines.console import Console
from pipelines.detect import endless
from pipelines.flink import job as flink_job
from pipelines.flink.job import FlinkJob, cause_of
from pipelines.flink.jobserver import find_job_server, flink_version, job_server_running
from pipelines.flink.options import FlinkJobOptions, flink_options
from pipelines.flink.rest import END_OF_TIME, Checkpoints, Failure, FlinkRest, check_cluster
from pipelines.preflight import check_flink
from pipelines.settings.flink import FlinkConfig
from schemas.errors import DistilwatchError


def jars(folder: Path) -> Path:
    """A folder that looks like one with the job server's jars."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "beam-runners-flink-1.19-2.62.0.jar").touch()
    return folder


def program(path: Path, text: str) -> None:
    """A program of the shell."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_jars_and_java_are_found_and_missed_with_a_word_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISTILWATCH_FLINK_LIBS", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")
    with pytest.raises(DistilwatchError, match="make services"):
        find_job_server()
    local = jars(tmp_path / ".local" / "flink" / "libs")
    with pytest.raises(DistilwatchError, match="needs Java"):
        find_job_server()
    program(tmp_path / "bin" / "java", "echo no room for me >&2; exit 1")
    assert find_job_server() == local
    own = jars(tmp_path / "own")
    monkeypatch.setenv("DISTILWATCH_FLINK_LIBS", str(own))
    assert find_job_server() == own
    assert flink_version(own) == "1.19"
    monkeypatch.setenv("DISTILWATCH_FLINK_LIBS", str(tmp_path / "none"))
    with pytest.raises(DistilwatchError, match="its jars are not there"):
        find_job_server()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.defpath}")
    with pytest.raises(DistilwatchError, match="no room for me"), job_server_running(own, "m:1"):
        pass


def test_a_cluster_that_does_not_answer_is_told_of() -> None:
    port = free_ports(1)[0]
    with pytest.raises(DistilwatchError, match="no Flink cluster answers"):
        check_cluster(f"127.0.0.1:{port}")
    job = FlinkJob(FlinkRest(f"127.0.0.1:{port}"), "0" * 32, patience_s=0.0)
    assert job.ended.wait(30)
    assert "goes on from its last checkpoint" in str(job.failure)


class _Told:
    """A job manager that has one failure to tell after the other, and then is done."""

    master = "127.0.0.1:1"

    def __init__(self, *failures: Failure) -> None:
        self._failures: Iterator[Failure] = iter(failures)
        self._left = len(failures)

    def state(self, _: str) -> str:
        return "RUNNING" if self._left else "FINISHED"

    def newest_failure(self, _: str) -> Failure:
        self._left -= 1
        return next(self._failures)


def said_of(monkeypatch: pytest.MonkeyPatch, *failures: Failure) -> list[str]:
    monkeypatch.setattr(flink_job, "_LOOK_EVERY_S", 0.001)
    said: list[str] = []
    rest: Any = _Told(*failures)
    job = FlinkJob(rest, "0" * 32, said.append)
    assert job.ended.wait(30)
    assert job.failure is None
    return said


def test_each_failure_that_a_job_survives_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    old, lost = Failure(5, "java.lang.Old: before"), Failure(9, "a.B: c\nCaused by: d.E: lost it")
    full = Failure(12, "f.G: full")
    # What was so before this process came is no news, nor what a new job manager has forgotten.
    said = said_of(monkeypatch, old, old, lost, lost, Failure(0, ""), lost, full)
    assert [text.partition(": ")[2] for text in said] == ["d.E: lost it", "f.G: full"]
    assert "goes back to its last checkpoint" in said[0]


def test_an_answer_that_nobody_foresaw_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd:
        def state(self, job: str) -> str:
            raise KeyError("state")

    monkeypatch.setattr(flink_job, "_LOOK_EVERY_S", 0.001)
    odd: Any = Odd()
    job = FlinkJob(odd, "0" * 32)
    assert job.ended.wait(60)
    job.leave()
    assert isinstance(job.failure, KeyError)


def test_what_goes_on_failing_in_the_same_way_is_told_once_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failing = [Failure(at, "f.G: full") for at in range(5)]
    assert len(said_of(monkeypatch, *failing)) == 1
    monkeypatch.setattr(flink_job, "_SAY_AGAIN_S", -1.0)
    assert len(said_of(monkeypatch, *failing)) == 4


def test_the_cause_of_a_failure_is_our_own_message_or_the_last_that_java_says() -> None:
    ours = DistilwatchError("no room", "/spool", "free some space")
    trace = (
        f"java.lang.X: y\nCaused by: Error: Traceback\nschemas.errors.DistilwatchError: {ours}\n"
    )
    assert cause_of(trace) == str(ours)
    assert (
        cause_of("a.B: c\n\tat d\nCaused by: e.F: g\n\tat h\nCaused by: i.J: k\n\tat l") == "i.J: k"
    )
    assert cause_of("a.B: c\n\tat d") == "a.B: c"
    gone = "io.grpc.StatusRuntimeException: CANCELLED: call already cancelled. Use Server"
    assert cause_of(f"a.B: c\nCaused by: {gone}\n\tat d").startswith("a Python worker has died")
    assert cause_of("") == ""


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--runner", "flink"), "needs the cluster's address"),
        (("--flink-master", "127.0.0.1:1"), "for a run on Flink only"),
        (("--from-savepoint", "file:/s"), "for a run on Flink only"),
        (("--runner", "flink", "--from-savepoint", "file:/s"), "only an endless topic can go on"),
        (("--runner", "flink", "--flink-master", "127.0.0.1:1"), "no Flink cluster answers"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_starts(
    more: tuple[str, ...],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DISTILWATCH_FLINK_LIBS", str(jars(tmp_path / "libs")))
    program(tmp_path / "bin" / "java", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    events = tmp_path / "e.jsonl"
    events.write_text("{}\n")
    code = cli.run([
        "detect", "--input", str(events), "--bundle", str(tmp_path / "b"),
        "--output", f"duckdb:///{tmp_path}/o.duckdb", *more,
    ])  # fmt: skip
    assert code == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "o.duckdb").exists()


@pytest.mark.parametrize(
    ("runner", "workers", "wrong"),
    [("prism", "127.0.0.1:1", "only a job on Flink"), ("flink", "loopback", "left behind")],
)
def test_only_a_job_that_can_go_on_alone_is_left(runner: str, workers: str, wrong: str) -> None:
    config = load_config(
        None,
        {"run.on_stop": "leave", "flink.workers": workers, "flink.master": "127.0.0.1:1"},
    )
    with pytest.raises(DistilwatchError, match=wrong):
        check_flink(runner, config, ["kafka://b:9092/t?bounded=false"], None, None)


def test_options_say_what_the_runner_needs_to_keep_a_stream_whole() -> None:
    config = FlinkConfig(parallelism=3, checkpoint_every="7 s")
    options = flink_options(config, "h:1", "name", [], True, "file:/s", "pool:50000")
    own = options.view_as(FlinkJobOptions)
    assert own.checkpointing_interval == 7_000
    assert own.finish_bundle_before_checkpointing is True
    assert own.min_pause_between_checkpoints == 5_000  # as long as a reader reads
    assert own.savepoint_path == "file:/s"
    assert own.attached_mode is False  # the job does not end with the job server
    everything = options.get_all_options()
    assert everything["environment_config"] == "pool:50000"
    assert everything["parallelism"] == 3
    bounded = flink_options(config, "h:1", "name", [], False, None, "pool:50000")
    assert bounded.view_as(FlinkJobOptions).checkpointing_interval is None


@pytest.mark.parametrize("workers", ["loop", "host", "host:", "http://h:1"])
def test_workers_are_this_process_or_an_address(workers: str) -> None:
    with pytest.raises(ValueError, match="workers"):
        FlinkConfig(workers=workers)


class _Stubborn(FlinkJob):
    """A job that takes no savepoint for a while."""

    def __init__(self, refusals: int) -> None:
        self.ended = threading.Event()
        self.asked, self.cancelled, self._refusals = 0, False, refusals

    def stop(self, folder: str | None) -> str:
        self.asked += 1
        if self.asked <= self._refusals:
            raise DistilwatchError("no savepoint", "job", "the job is still running")
        return "file:/s"

    def cancel(self) -> None:
        self.cancelled = True


def _stopped(workers: str) -> Any:
    return SimpleNamespace(
        endless=True, config=SimpleNamespace(flink=FlinkConfig(workers=workers, savepoints=None))
    )


def test_a_savepoint_that_is_refused_after_a_failure_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(endless.time, "sleep", lambda _: None)
    job = _Stubborn(3)
    assert endless._end(job, _stopped("h:1"), Console(as_json=True)) == "file:/s"
    assert (job.asked, job.cancelled) == (4, False)


@pytest.mark.parametrize(("workers", "ends"), [("h:1", False), ("loopback", True)])
def test_a_job_without_a_savepoint_goes_on_where_its_workers_do(
    workers: str, ends: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it has in its state is lost with it."""
    monkeypatch.setattr(endless, "_LAST_TRIES_S", 0.0)
    job = _Stubborn(1 << 30)
    assert endless._end(job, _stopped(workers), Console(as_json=True)) is None
    assert job.cancelled == ends
    assert "still running" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("told", "over"),
    [
        ({"a": [], "b": [END_OF_TIME, END_OF_TIME], "c": [END_OF_TIME]}, True),
        ({"a": [], "b": [END_OF_TIME, END_OF_TIME - 1], "c": [END_OF_TIME]}, False),
        ({"a": [], "b": [END_OF_TIME, END_OF_TIME], "c": []}, False),  # it has not begun
    ],
)
def test_the_end_has_come_when_all_steps_tell_of_it(told: dict[str, list[int]], over: bool) -> None:
    class Rest(FlinkRest):
        def _ask(self, method: str, path: str, body: Any = None) -> Any:
            if path.endswith("/watermarks"):
                return [{"value": str(value)} for value in told[path.split("/")[-2]]]
            names = {"a": "Source: Impulse", "b": "Sessions", "c": "Clusters"}
            return {"vertices": [{"id": name, "name": names[name]} for name in told]}

    assert (Rest("h:1").watermark("j") == END_OF_TIME) == over


@pytest.mark.parametrize(
    ("told", "seen"),
    [
        ({"history": [], "latest": {"completed": None, "restored": None}}, Checkpoints(0, 0, 0)),
        (
            {
                "history": [{"id": 9, "status": "IN_PROGRESS"}, {"id": 8, "status": "COMPLETED"}],
                "latest": {"completed": {"id": 8}, "restored": {"id": 3, "restore_timestamp": 70}},
            },
            Checkpoints(9, 8, 70),
        ),
    ],
)
def test_checkpoints_are_read_as_flink_tells_them(told: Any, seen: Checkpoints) -> None:
    class Rest(FlinkRest):
        def _ask(self, method: str, path: str, body: Any = None) -> Any:
            assert path == "/jobs/j/checkpoints"
            return told

    assert Rest("h:1").checkpoints("j") == seen


class _Draining:
    """A cluster that tells of one job what it is set to."""

    def __init__(self) -> None:
        self.at, self.seen = 0, Checkpoints(4, 4, 0)

    def state(self, job: str) -> str:
        return "RUNNING"

    def newest_failure(self, job: str) -> Failure:
        return Failure(0, "")

    def watermark(self, job: str) -> int:
        return self.at

    def checkpoints(self, job: str) -> Checkpoints:
        return self.seen


@pytest.fixture
def draining() -> Iterator[tuple[_Draining, FlinkJob]]:
    cluster = _Draining()
    job = FlinkJob(cast(FlinkRest, cluster), "j")
    yield cluster, job
    job.leave()


def test_a_job_has_drained_when_a_checkpoint_has_followed_the_end(
    draining: tuple[_Draining, FlinkJob],
) -> None:
    """A step that is told of the end may have much to do until it has come to it."""
    cluster, job = draining
    assert not job.has_drained()
    cluster.at, cluster.seen = END_OF_TIME, Checkpoints(5, 4, 0)
    assert not job.has_drained()
    cluster.seen = Checkpoints(5, 5, 0)  # it began before the end was seen
    assert not job.has_drained()
    cluster.seen = Checkpoints(6, 5, 0)
    assert not job.has_drained()
    cluster.seen = Checkpoints(6, 6, 0)
    assert job.has_drained()


def test_a_job_that_is_taken_back_comes_to_the_end_once_more(
    draining: tuple[_Draining, FlinkJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, job = draining
    now = 1000.0
    monkeypatch.setattr(flink_job.time, "monotonic", lambda: now)
    cluster.at = END_OF_TIME
    assert not job.has_drained()
    cluster.seen = Checkpoints(7, 7, 1)  # the watermarks are those of before, still
    assert not job.has_drained()
    now += 15
    cluster.seen = Checkpoints(9, 9, 1)
    assert not job.has_drained()
    now += 10
    assert not job.has_drained()
    cluster.seen = Checkpoints(10, 10, 1)
    assert job.has_drained()
    cluster.at = 0
    assert not job.has_drained()
    cluster.at, cluster.seen = END_OF_TIME, Checkpoints(12, 12, 1)
    assert not job.has_drained()
    cluster.seen = Checkpoints(13, 13, 1)
    assert job.has_drained()
