"""A Flink session cluster as ordinary processes of this machine, for tests and to try things out.

From the shell, `python -m infra.local.flink_cluster` runs one until interrupted.
`install.sh` fetches its jars.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from infra.local.services import ServiceError, free_ports, local_dir
from pipelines.flink.jobserver import OPENS

_INSTALL = "run `make services` (infra/local/install.sh), which fetches it"
_ENTRY = "org.apache.flink.runtime"
_COORDINATOR = f"{_ENTRY}.zookeeper.FlinkZooKeeperQuorumPeer"
_JOB_MANAGER = f"{_ENTRY}.entrypoint.StandaloneSessionClusterEntrypoint"
_TASK_MANAGER = f"{_ENTRY}.taskexecutor.TaskManagerRunner"

StateBackend = Literal["hashmap", "rocksdb"]
_CONFIG = """\
jobmanager.rpc.address: 127.0.0.1
jobmanager.rpc.port: {rpc}
jobmanager.bind-host: 127.0.0.1
rest.address: 127.0.0.1
rest.port: {rest}
rest.bind-address: 127.0.0.1
blob.server.port: "0"
taskmanager.host: 127.0.0.1
taskmanager.bind-host: 127.0.0.1
taskmanager.numberOfTaskSlots: {slots}
taskmanager.network.request-backoff.max: 2000
parallelism.default: 1
state.backend.type: {backend}
state.backend.incremental: true
state.backend.rocksdb.localdir: {folder}/rocksdb
state.checkpoints.num-retained: 3
state.checkpoints.dir: file://{folder}/checkpoints
state.savepoints.dir: file://{folder}/savepoints
restart-strategy.type: fixed-delay
restart-strategy.fixed-delay.attempts: 1000
restart-strategy.fixed-delay.delay: 500 ms
heartbeat.interval: 2000
heartbeat.timeout: 20000
high-availability.type: zookeeper
high-availability.zookeeper.quorum: 127.0.0.1:{coordinator}
high-availability.zookeeper.client.session-timeout: 8000
high-availability.storageDir: file://{folder}/ha
high-availability.cluster-id: /local
io.tmp.dirs: {folder}/tmp
"""
# A task manager that is not started by Flink's own scripts must be told every part of its memory.
_FRAMEWORK_MB = 128
_OTHER_MB = 640  # beside heap and managed memory
_MEMORY = {
    "taskmanager.cpu.cores": "1",
    "taskmanager.memory.task.off-heap.size": "0m",
    "taskmanager.memory.network.min": "64m",
    "taskmanager.memory.network.max": "64m",
    "taskmanager.memory.framework.heap.size": f"{_FRAMEWORK_MB}m",
    "taskmanager.memory.framework.off-heap.size": "128m",
    "taskmanager.memory.jvm-metaspace.size": "256m",
    "taskmanager.memory.jvm-overhead.min": "192m",
    "taskmanager.memory.jvm-overhead.max": "192m",
}
_COORDINATOR_CONFIG = """\
clientPort={port}
clientPortAddress=127.0.0.1
dataDir={folder}/coordinator
tickTime=2000
admin.enableServer=false
server.1=127.0.0.1:{peer}:{leader}
"""


def flink_libs() -> Path:
    """Folder of the jars of Flink and of Beam's job server for it.

    Raises:
      ServiceError: the jars or Java are missing.
    """
    libs = local_dir() / "flink" / "libs"
    if not any(libs.glob("beam-runners-flink-*.jar")):
        raise ServiceError(f"Flink is not installed in {libs}: {_INSTALL}")
    if shutil.which("java") is None:
        raise ServiceError("`java` is missing, which Flink needs: install a JRE, 17+")
    return libs


class _Java:
    """One Java process, with its words in a log."""

    def __init__(self, name: str, folder: Path, heap: str, main: str, *arguments: str) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        # The serial collector and the first compiler alone: quick to start, small, fast enough.
        self._command = [
            "java", f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *OPENS,
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
            f"-Djava.io.tmpdir={folder / 'tmp'}",
            "-cp", f"{flink_libs()}/*", main, *arguments,
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id while it runs."""
        assert self._process is not None
        return self._process.pid

    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts it; does not wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C at the terminal reaches this process only, which then stops the cluster.
                start_new_session=True,
            )

    def kill(self) -> None:
        """Ends it at once, as a power failure would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """Asks it to end, insists after ten seconds."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()

    def tail(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace")[-3000:] if self._log.exists() else ""


class WorkerPool:
    """Our worker pool: starts a Python worker for every task manager that asks for one.

    Attributes:
      address: "127.0.0.1:port", for `flink.workers`.
    """

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        self._port = free_ports(1)[0]
        self.address = f"127.0.0.1:{self._port}"
        self._log = folder / "workers.log"
        self._environment = os.environ | (environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, wait_s: float = 120.0) -> None:
        """Starts it and waits until it listens.

        Raises:
          ServiceError: it does not.
        """
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.flink.worker_pool", f"--port={self._port}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env=self._environment, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.1)
        raise ServiceError(f"the worker pool does not start: {self.tail()}")

    def workers(self) -> list[int]:
        """Process ids of the workers, which are forked by a process that the pool starts."""
        assert self._process is not None
        parents = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parts = stat.read_text().rpartition(")")[2].split()
                if parts[0] != "Z":
                    parents[int(stat.parent.name)] = int(parts[1])
        return [pid for pid, parent in parents.items() if parents.get(parent) == self._process.pid]

    def tail(self) -> str:
        """The end of what it and its workers said."""
        return self._log.read_text(errors="replace")[-3000:] if self._log.exists() else ""

    def stop(self) -> None:
        """Ends it and its workers."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class FlinkCluster:
    """A coordinator (ZooKeeper), a job manager and task managers, up inside a `with` statement.

    The coordinator is there so that a new job manager goes on with the jobs of one that was killed.

    Args:
      folder: for all of it; None: a passing one.
      task_managers, slots: how many, and slots of each.
      wait_s: for it to be up.
      state: `hashmap` keeps state in the task managers' heap, `rocksdb` on disk.
      heap_mb: of a task manager.
      managed_mb: of a task manager, for RocksDB.

    Attributes:
      master: "127.0.0.1:port" of the job manager's REST interface.
      folder: configuration, logs, checkpoints and savepoints; removed at the end if made here.
      conf: folder of config.yaml, for clients.
      task_managers: the processes; `kill` and `start` them as you like.
    """

    def __init__(
        self,
        folder: Path | None = None,
        task_managers: int = 2,
        slots: int = 1,
        wait_s: float = 180.0,
        state: StateBackend = "hashmap",
        heap_mb: int = 448,
        managed_mb: int = 64,
    ) -> None:
        self._heap_mb, self._managed_mb = heap_mb, managed_mb
        self._owned = folder is None
        self.folder = (folder or Path(tempfile.mkdtemp(prefix="distilwatch-flink-"))).absolute()
        self._wait_s = wait_s
        self._size, self._slots = task_managers, slots
        rpc, rest, coordinator, peer, leader = free_ports(5)
        self.master = f"127.0.0.1:{rest}"
        self.conf = self.folder / "conf"
        for name in ("conf", "tmp", "coordinator", "checkpoints", "savepoints", "ha"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.conf / "config.yaml").write_text(
            _CONFIG.format(
                rpc=rpc, rest=rest, slots=slots, folder=self.folder, coordinator=coordinator,
                backend=state,
            )
        )  # fmt: skip
        (self.folder / "zoo.cfg").write_text(
            _COORDINATOR_CONFIG.format(
                port=coordinator, peer=peer, leader=leader, folder=self.folder
            )
        )
        self.coordinator = _Java(
            "coordinator", self.folder, "96m", _COORDINATOR,
            "--zkConfigFile", str(self.folder / "zoo.cfg"), "--peerId", "1",
        )  # fmt: skip
        self.job_manager = _Java(
            "job-manager", self.folder, "384m", _JOB_MANAGER,
            "-c", str(self.conf), "--executionMode", "cluster",
        )  # fmt: skip
        self.task_managers = [self._task_manager(i) for i in range(task_managers)]

    def _task_manager(self, number: int) -> _Java:
        memory = _MEMORY | {
            "taskmanager.memory.task.heap.size": f"{self._heap_mb - _FRAMEWORK_MB}m",
            "taskmanager.memory.managed.size": f"{self._managed_mb}m",
            "taskmanager.memory.process.size": f"{self._heap_mb + self._managed_mb + _OTHER_MB}m",
        }
        given = [word for name, value in memory.items() for word in ("-D", f"{name}={value}")]
        return _Java(
            f"task-manager-{number}", self.folder, f"{self._heap_mb}m", _TASK_MANAGER,
            "-c", str(self.conf), *given,
        )  # fmt: skip

    def __enter__(self) -> FlinkCluster:
        try:
            for process in self._processes():
                process.start()
            self.wait_until(self.ready)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _processes(self) -> list[_Java]:
        return [self.coordinator, self.job_manager, *self.task_managers]

    def rest(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """What Flink's REST interface answers, e.g. to `/jobs/overview`.

        Raises:
          OSError: the job manager does not answer, or refuses.
        """
        request = urllib.request.Request(
            f"http://{self.master}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def ready(self) -> bool:
        """Whether all slots are there."""
        with contextlib.suppress(OSError, ValueError):
            found = self.rest("/overview")
            return bool(found["slots-total"] >= self._size * self._slots)
        return False

    def wait_until(self, condition: Any) -> None:
        """Waits for a condition.

        Raises:
          ServiceError: it does not come true in time, or a process has ended.
        """
        deadline = time.monotonic() + self._wait_s
        while not condition():
            for process in self._processes():
                if not process.alive():
                    raise ServiceError(f"Flink's {process.name} has ended: {process.tail()}")
            if time.monotonic() > deadline:
                said = "\n".join(f"{p.name}: {p.tail()[-1200:]}" for p in self._processes())
                raise ServiceError(f"Flink was not ready within {self._wait_s:.0f} s: {said}")
            time.sleep(0.2)

    def close(self) -> None:
        """Stops all of it and removes its folder if it was made here."""
        for process in reversed(self._processes()):
            process.stop()
        if self._owned:
            shutil.rmtree(self.folder, ignore_errors=True)


def main(arguments: list[str] | None = None) -> int:
    """Runs a cluster until interrupted."""
    parser = argparse.ArgumentParser(description="A Flink session cluster on this machine")
    parser.add_argument("--folder", type=Path, help="keep its data here; default: a passing one")
    parser.add_argument("--task-managers", type=int, default=2)
    parser.add_argument("--slots", type=int, default=1, help="of each task manager")
    parser.add_argument("--state", choices=["hashmap", "rocksdb"], default="hashmap")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        with FlinkCluster(
            options.folder, options.task_managers, options.slots, state=options.state
        ) as cluster:
            print(f"Flink is at {cluster.master}; its logs are in {cluster.folder}", flush=True)
            while True:
                time.sleep(3600)
    except ServiceError as problem:
        print(f"error: {problem}")
        return 2
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    raise SystemExit(main())
