"""Kafka, Prism and BigQuery as ordinary processes of this machine, for tests and to try things out.

From the shell, `python infra/local/services.py kafka` runs a broker until interrupted, `… bigquery`
an emulator of BigQuery, and `… prism` prints where the Prism binary is.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import IO

_HERE = Path(__file__).resolve().parent
_INSTALL = "run `make services` (infra/local/install.sh), which fetches it"

_SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={logs}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
message.max.bytes=33554432
replica.fetch.max.bytes=33554432
log.retention.ms=-1
log.retention.check.interval.ms=1000
log.segment.delete.delay.ms=200
"""

# Log4j's own configuration; warnings go to the broker's standard output.
_LOG4J = """\
status=error
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c{1}: %m%n
"""


class ServiceError(RuntimeError):
    """A service is not installed or did not start; the message says what to do."""


def local_dir() -> Path:
    """Where `install.sh` puts things: $DISTILWATCH_LOCAL or `.local` in the repository."""
    named = os.environ.get("DISTILWATCH_LOCAL")
    return Path(named) if named else _HERE.parents[1] / ".local"


def kafka_libs() -> Path:
    """Folder of the broker's jars.

    Raises:
      ServiceError: the jars or Java are missing.
    """
    libs = local_dir() / "kafka" / "libs"
    if not any(libs.glob("kafka_*.jar")):
        raise ServiceError(f"Kafka is not installed in {libs}: {_INSTALL}")
    if shutil.which("java") is None:
        raise ServiceError("`java` is missing, which the Kafka broker needs: install a JRE, 17+")
    return libs


def prism_location() -> Path:
    """The Prism binary.

    Raises:
      ServiceError: it is missing.
    """
    binary = local_dir() / "bin" / "prism"
    if not os.access(binary, os.X_OK):
        raise ServiceError(f"Prism, Beam's local streaming runner, is not at {binary}: {_INSTALL}")
    return binary


def hclfmt_location() -> Path:
    """The formatter of HCL, Terraform's language.

    Raises:
      ServiceError: it is missing.
    """
    binary = local_dir() / "bin" / "hclfmt"
    if not os.access(binary, os.X_OK):
        raise ServiceError(f"hclfmt is not at {binary}: {_INSTALL}")
    return binary


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on just now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


class KafkaBroker:
    """One broker in a folder of its own, up inside a `with` statement.

    Attributes:
      address: "127.0.0.1:port".
      folder: data, configuration and `broker.log`; removed at the end if it was made here.
    """

    def __init__(
        self, folder: Path | None = None, wait_s: float = 60.0, heap: str = "384m"
    ) -> None:
        self._owned = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="distilwatch-kafka-"))
        self._wait_s, self._heap = wait_s, heap
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        port, controller = free_ports(2)
        self.address = f"127.0.0.1:{port}"
        self._port = port
        self._properties = self.folder / "server.properties"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._properties.write_text(
            _SERVER_PROPERTIES.format(port=port, controller=controller, logs=self.folder / "data")
        )
        (self.folder / "log4j2.properties").write_text(_LOG4J)

    def __enter__(self) -> KafkaBroker:
        try:
            self._format()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    @property
    def pid(self) -> int:
        """Process id, while it is up."""
        assert self._process is not None
        return self._process.pid

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _java(self, *arguments: str) -> list[str]:
        # The serial collector and the first compiler alone: quick to start, small, fast enough.
        return [
            "java", f"-Xmx{self._heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}",
            "-cp", f"{kafka_libs()}/*", *arguments,
        ]  # fmt: skip

    def _format(self) -> None:
        if (self.folder / "data" / "meta.properties").exists():
            return
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = self._java(
            "kafka.tools.StorageTool", "format", "-c", str(self._properties),
            f"--cluster-id={cluster}",  # one argument: every 64th begins with a hyphen
        )  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServiceError(f"Kafka could not format {self.folder}: {done.stderr[-2000:]}")

    def start(self) -> None:
        """Starts the broker on its port and waits until it answers; its data are kept."""
        self._log = (self.folder / "broker.log").open("ab")
        self._process = subprocess.Popen(
            self._java("kafka.Kafka", str(self._properties)),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            # Ctrl-C at the terminal reaches this process only, which then stops the broker.
            start_new_session=True,
        )
        self._await_answer()

    def _await_answer(self) -> None:
        # Imported late: finding Prism, or saying what is missing, needs no Kafka client.
        from kafka import KafkaAdminClient
        from kafka.errors import KafkaError

        assert self._process is not None
        deadline = time.monotonic() + self._wait_s
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ServiceError(
                    f"Kafka stopped with exit code {self._process.returncode}: {self._tail()}"
                )
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self._port), timeout=1),
            ):
                try:
                    client = KafkaAdminClient(
                        bootstrap_servers=self.address, bootstrap_timeout_ms=2000
                    )
                except KafkaError:
                    time.sleep(0.1)
                    continue
                client.close()
                return
            time.sleep(0.1)
        raise ServiceError(f"Kafka did not answer within {self._wait_s:.0f} s: {self._tail()}")

    def _tail(self) -> str:
        log = self.folder / "broker.log"
        return log.read_text(errors="replace")[-2000:] if log.exists() else ""

    def create_topic(
        self, name: str, partitions: int = 1, configs: dict[str, str] | None = None
    ) -> str:
        """Makes a topic and returns its `kafka://` URI."""
        from kafka import KafkaAdminClient

        client = KafkaAdminClient(bootstrap_servers=self.address)
        try:
            client.create_topics(
                {
                    name: {
                        "num_partitions": partitions,
                        "replication_factor": 1,
                        "configs": {"max.message.bytes": "33554432", **(configs or {})},
                    }
                }
            )
        finally:
            client.close()
        return f"kafka://{self.address}/{name}"

    def stop(self) -> None:
        """Asks the broker to stop and waits; insists after ten seconds. `start` continues it."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._log is not None:
            self._log.close()
            self._log = None

    def kill(self) -> None:
        """Ends the broker at once, as a power failure would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self.stop()

    def close(self) -> None:
        """Stops the broker and removes its folder if it was made here."""
        self.stop()
        if self._owned:
            shutil.rmtree(self.folder, ignore_errors=True)


def main(arguments: list[str] | None = None) -> int:
    """`kafka [--topic NAME:PARTITIONS …]`, `bigquery` or `prism`."""
    parser = argparse.ArgumentParser(description="Kafka, BigQuery and Prism on this machine")
    commands = parser.add_subparsers(dest="command", required=True)
    kafka = commands.add_parser("kafka", help="run a broker until interrupted")
    kafka.add_argument("--folder", type=Path, help="keep its data here; default: a passing one")
    kafka.add_argument("--topic", action="append", default=[], metavar="NAME[:PARTITIONS]")
    bigquery = commands.add_parser("bigquery", help="run an emulator until interrupted")
    bigquery.add_argument("--project", default="test-project")
    bigquery.add_argument("--port", type=int, help="of HTTP; default: one that is free")
    commands.add_parser("prism", help="say where the Prism binary is")
    options = parser.parse_args(arguments)
    try:
        if options.command == "prism":
            print(prism_location())
            return 0
        # Terminating this process must stop the broker, too.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if options.command == "bigquery":
            from infra.local.bigquery_emulator import BigQueryEmulator

            with BigQueryEmulator(options.project, rest_port=options.port) as emulator:
                print(f"BigQuery answers at {emulator.rest}, its Storage API at {emulator.grpc}.")
                print(f"export BIGQUERY_EMULATOR_HOST=http://{emulator.rest}")
                print(f"export BIGQUERY_STORAGE_EMULATOR_HOST={emulator.grpc}", flush=True)
                signal.pause()
        with KafkaBroker(options.folder) as broker:
            for topic in options.topic:
                name, _, partitions = topic.partition(":")
                print(broker.create_topic(name, int(partitions or 1)))
            print(f"Kafka answers at {broker.address}; interrupt to stop it.", flush=True)
            signal.pause()
    except ServiceError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    return 0


if __name__ == "__main__":
    # As a script: the modules beside this one are found, and there is one ServiceError only.
    sys.path.insert(0, str(_HERE.parents[1]))
    from infra.local import services

    sys.exit(services.main())
