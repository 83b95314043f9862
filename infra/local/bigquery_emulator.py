"""An emulator of BigQuery as an ordinary process of this machine: `bqemulator`, over DuckDB.

docs/bigquery.md lists what it does not do.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType

from infra.local.services import ServiceError, free_ports, local_dir

_INSTALL = "run `make services` (infra/local/install.sh), which fetches it"


def emulator_command() -> Path:
    """The emulator's command.

    Raises:
      ServiceError: it is not installed.
    """
    home = local_dir() / "bigquery"
    command = home / "venv" / "bin" / "bqemulator"
    if not os.access(command, os.X_OK) or not any(home.glob("installed-*")):
        raise ServiceError(f"The BigQuery emulator is not installed in {home}: {_INSTALL}")
    return command


class BigQueryEmulator:
    """One emulator, its data in memory, up inside a `with` statement.

    Attributes:
      project: that requests may leave out.
      rest: "127.0.0.1:port" of the HTTP API.
      grpc: "127.0.0.1:port" of the Storage API.
      log: what the process said.
    """

    def __init__(
        self, project: str = "test-project", wait_s: float = 120.0, rest_port: int | None = None
    ) -> None:
        self.project = project
        self._wait_s = wait_s
        self._folder = Path(tempfile.mkdtemp(prefix="distilwatch-bigquery-"))
        self.log = self._folder / "emulator.log"
        ports = free_ports(2)
        self._rest_port, self._grpc_port = rest_port or ports[0], ports[1]
        self.rest = f"127.0.0.1:{self._rest_port}"
        self.grpc = f"127.0.0.1:{self._grpc_port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> BigQueryEmulator:
        try:
            self._start()
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

    def _start(self) -> None:
        command = emulator_command()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    str(command), "start", "--ephemeral", "--project", self.project,
                    "--rest-port", str(self._rest_port), "--grpc-port", str(self._grpc_port),
                    "--log-level", "warning",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # DuckDB finds its extensions below HOME, where install.sh has put them.
                env=os.environ | {"HOME": str(local_dir() / "bigquery" / "home")},
                start_new_session=True,
            )  # fmt: skip
        self._await_answer()

    def _await_answer(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + self._wait_s
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                code = self._process.returncode
                raise ServiceError(f"The emulator stopped with exit code {code}: {self._tail()}")
            with (
                contextlib.suppress(OSError),  # of which urllib's errors are a kind
                urllib.request.urlopen(f"http://{self.rest}/readyz", timeout=2),
            ):
                return
            time.sleep(0.1)
        raise ServiceError(f"The emulator did not answer in {self._wait_s:.0f} s: {self._tail()}")

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""

    def close(self) -> None:
        """Stops the emulator and removes its folder."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
