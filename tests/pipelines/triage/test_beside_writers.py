"""Pages that are asked for without a pause leave room for whoever writes to the file."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path

from pipelines.triage.duckdb_store import DuckDBStore
from pipelines.triage.queue import Queue
from pipelines.triage.queue_page import QueueFilter
from transforms.alerts.decision_store import DispositionStore
from transforms.alerts.dispositions import decide

_WRITER = """
    import sys
    from pathlib import Path
    from schemas.tables import TABLES
    from transforms.sinks.duckdb import write_tables
    from transforms.sinks.duckdb_refusal import check_database
    check_database(Path(sys.argv[1]))  # as detect does before it starts
    for turn in range(int(sys.argv[2])):
        health = TABLES["run_health"].to_arrow([{"run_id": "r", "metric": "n", "value": turn}])
        write_tables(Path(sys.argv[1]), {"run_health": health}, define=False, patience_s=60)
"""


def test_a_crowd_of_readers_does_not_keep_a_writer_out(tables: Path) -> None:
    store = DuckDBStore(tables)
    queue = Queue(store, 0)
    queue.refresh()
    names = [row.cluster_id for row in queue.page(QueueFilter(), 50).rows]
    stop, wrong, read = threading.Event(), list[BaseException](), [0] * 12

    def person(number: int) -> None:
        try:
            while not stop.is_set():
                assert store.case(names[(number + read[number]) % len(names)]) is not None
                read[number] += 1
        except BaseException as problem:  # told below
            wrong.append(problem)

    crowd = [threading.Thread(target=person, args=(i,)) for i in range(len(read))]
    for one in crowd:
        one.start()
    try:
        command = [sys.executable, "-c", textwrap.dedent(_WRITER), str(tables), "3"]
        done = subprocess.run(command, timeout=400, check=False, capture_output=True, text=True)
        made = decide({"cluster_id": names[0]}, ["a"], "watch", by="me", why="so", at_ms=1)
        DispositionStore(tables).append(made)
    finally:
        stop.set()
        for one in crowd:
            one.join()
    assert done.returncode == 0, done.stderr
    assert wrong == []
    assert min(read) > 0
    assert DispositionStore(tables).rows() == [made]
