"""The whole of `distilwatch detect` on each engine of this machine.

Its input ends; but on Prism it is a topic without an end, and is drained when all has been read.
What belongs to the job counts: on Prism its process, on Flink the job's server, the task managers
with their workers, the job manager and its coordinator; not the Kafka broker. Servers that are
there before a job, as a cluster is, are started before the clock; workers are not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.case import LEVELS, Case
from bench.stream import Stream
from pipelines.config import describe
from pipelines.console import Console
from pipelines.detect import DetectOptions, detect


def detect_and_list(case: Case, folder: str, inputs: list[str], runner: str) -> None:
    """Runs `detect` into a database, and lists the scored sessions in a file."""
    options = DetectOptions(
        inputs=inputs,
        bundle=case.bundle,
        outputs=[f"duckdb:///{folder}/out.duckdb"],
        config=case.config,
        runner=runner,
        run_id="bench",
        beam_args=[],
    )
    with Console(as_json=True) as console:
        detect(options, console)
    _list_sessions(Path(folder, "out.duckdb"), folder)


def _list_sessions(database: Path, folder: str) -> None:
    import duckdb

    with duckdb.connect(str(database), read_only=True) as tables:
        found = tables.execute(
            "SELECT session_id, request_count, score, p_value FROM current_sessions "
            "WHERE level IN (?, ?) AND pane <> 'early'",
            list(LEVELS.values()),
        ).fetchall()
    Path(folder, "sessions").write_text("".join(json.dumps(row) + "\n" for row in found))


def from_file(case: Case, folder: str, runner: str = "direct") -> None:
    """`detect` over the case's file."""
    detect_and_list(case, folder, [str(case.events)], runner)


def from_topic(case: Case, folder: str) -> None:
    """`detect` over the case's topic, to the end that it has."""
    assert case.topic is not None
    detect_and_list(case, folder, [case.topic], "direct")


def on_prism(case: Case, folder: str) -> None:
    """`detect` over the case's topic as one without an end, drained when all was read."""
    assert case.topic is not None
    run = case.config.run.model_copy(update={"on_stop": "drain"})
    own = Path(folder, "prism")
    own.mkdir()
    config = own / "settings.yaml"
    config.write_text(describe(case.config.model_copy(update={"run": run})))
    stream = Stream(case, config, case.topic, own)
    with stream.running():
        stream.until_read(case.count)
    _list_sessions(stream.database, folder)


@contextmanager
def on_flink(slots: int, case: Case, folder: str) -> Iterator[Callable[[], None]]:
    """`detect` on a Flink cluster that is up already, each slot a task manager of its own."""
    from infra.local.flink_cluster import FlinkCluster, WorkerPool, flink_libs

    os.environ["DISTILWATCH_FLINK_LIBS"] = str(flink_libs())
    with FlinkCluster(task_managers=slots) as cluster:
        pool = WorkerPool(cluster.folder)
        pool.start()
        try:
            there = {"master": cluster.master, "workers": pool.address, "parallelism": slots}
            yield partial(from_file, _with_flink(case, there), folder, "flink")
        finally:
            pool.stop()


def _with_flink(case: Case, there: dict[str, object]) -> Case:
    flink = case.config.flink.model_copy(update=there)
    return replace(case, config=case.config.model_copy(update={"flink": flink}))
