"""Where the time of a whole `detect` goes, stage by stage.

`python -m bench.profiling` runs the job on Zipf traffic in this process and looks every few
milliseconds at what each thread is doing. A look counts for the innermost of our stages that the
thread is in, or else for Beam; it weighs what the process has used of the processor since the look
before, divided among the threads that were not waiting. So the shares add up to the whole.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from threadpoolctl import threadpool_limits

from bench.case import prepare_zipf
from bench.engines import from_file
from bench.throughput import ONE_THREAD, machine
from bench.zipf import Traffic, settings
from pipelines.config import load_config

_EVERY_S = 0.004
# Path in a frame's file, stage; of several in one frame the first counts.
_STAGES = (
    ("transforms/ingest/files", "read"),
    ("transforms/ingest/kafka", "read"),
    ("transforms/ingest/dedupe", "deduplicate"),
    ("transforms/ingest/", "decode"),
    ("transforms/embedding/space", "cells"),
    ("transforms/embedding/", "embed"),
    ("transforms/coverage/features", "features"),
    ("transforms/coverage/fold", "fold"),
    ("transforms/coverage/", "merge, sketches in columns"),
    ("transforms/sessions/", "sessions and profiles (state)"),
    ("transforms/scoring/rows", "features"),
    ("transforms/scoring/", "score"),
    ("transforms/clusters/", "link, score clusters"),
    ("transforms/sinks/", "write"),
    ("transforms/alerts/", "write"),
    ("transforms/pickling", "shuffle and coders"),
    ("pipelines/detect/build", "build the pipeline"),
    ("apache_beam/coders/", "shuffle and coders"),
    ("apache_beam/internal/", "shuffle and coders"),
    ("cloudpickle", "shuffle and coders"),
    ("importlib._bootstrap", "imports"),
)
_BEAM = "Beam's runner and workers"
_WAITING = (
    "threading.py", "queue.py", "selectors.py", "socket.py", "_channel.py", "_server.py",
    "/subprocess.py", "concurrent/futures/thread.py", "concurrent/futures/_base.py",
)  # fmt: skip


def stage_of(frame: FrameType | None) -> str | None:
    """The stage that a thread is in; None when it waits."""
    if frame is None or frame.f_code.co_filename.endswith(_WAITING):
        return None
    while frame is not None:
        name = frame.f_code.co_filename
        for part, stage in _STAGES:
            if part in name:
                return stage
        frame = frame.f_back
    return _BEAM


def profiled(job: Callable[[], None]) -> dict[str, float]:
    """Seconds of processor time of each stage while a job runs."""
    spent: dict[str, float] = defaultdict(float)
    done = threading.Event()
    me: list[int] = []

    def look() -> None:
        me.append(threading.get_ident())
        before = time.process_time()
        while not done.wait(_EVERY_S):
            now = time.process_time()
            stages = [
                stage
                for thread, frame in sys._current_frames().items()
                if thread != me[0] and (stage := stage_of(frame)) is not None
            ]
            for stage in stages or [_BEAM]:
                spent[stage] += (now - before) / max(len(stages), 1)
            before = now

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        job()
    finally:
        done.set()
        thread.join()
    return spent


def table(spent: dict[str, float], events: int) -> list[str]:
    """A table in Markdown, the largest first."""
    total = sum(spent.values())
    lines = ["| stage | µs/event | share |", "|---|---:|---:|"]
    lines += [
        f"| {stage} | {seconds / events * 1e6:.1f} | {seconds / total:.0%} |"
        for stage, seconds in sorted(spent.items(), key=lambda found: -found[1])
    ]
    return [*lines, f"| all | {total / events * 1e6:.1f} | 100% |"]


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser("python -m bench.profiling", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--keys", type=int, default=2_000)
    parser.add_argument("--text", action="store_true", help="events bring texts, not vectors")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="distilwatch-profile-") as folder:
        os.environ.update(ONE_THREAD, DISTILWATCH_HOME=folder)
        traffic = Traffic(args.events, args.keys, dim=0 if args.text else 384)
        config = load_config(None, settings(traffic))
        case = prepare_zipf(Path(folder), traffic, config)
        case.verified().load()
        out = Path(folder, "out")
        out.mkdir()
        # The environment is read when numpy is loaded, which it is by now.
        with threadpool_limits(1):
            spent = profiled(lambda: from_file(case, str(out)))
    print(f"{machine()}\n{args.events:,} events, {args.keys:,} keys\n")
    print("\n".join(table(spent, args.events)))


if __name__ == "__main__":
    main()
