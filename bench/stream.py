"""`detect` on a topic without an end, as a process of its own, until it is told to stop."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.case import Case

PATIENCE_S = 900.0
_LOOK_EVERY_S = 0.5


class Stream:
    """`detect` with its tables in a folder.

    Attributes:
      database: the DuckDB file that it writes.
    """

    def __init__(
        self, case: Case, config: Path, source: str, folder: Path, more: Sequence[str] = ()
    ) -> None:
        """Prepares the command.

        Args:
          case: whose bundle is used.
          config: settings.
          source: address of the topic.
          folder: for tables and log.
          more: arguments behind these.
        """
        self.database, self._log = folder / "out.duckdb", folder / "stream.log"
        self._process: subprocess.Popen[bytes]
        self._command = [
            sys.executable, "-m", "pipelines.cli", "detect", "--input", f"{source}?bounded=false",
            "--bundle", str(case.bundle), "--config", str(config),
            "--output", f"duckdb:///{self.database}", *more, "--json",
        ]  # fmt: skip

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """While the block runs; then it stops as the settings' `run.on_stop` says.

        Raises:
          RuntimeError: it does not stop in time.
        """
        with (
            self._log.open("wb") as log,
            subprocess.Popen(self._command, stdout=log, stderr=log) as process,
        ):
            self._process = process
            try:
                yield
            finally:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(PATIENCE_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise RuntimeError(f"it did not stop: {self._said()}") from None

    def read(self) -> int:
        """Records whose count is in the tables."""
        import duckdb

        with (
            contextlib.suppress(duckdb.Error),
            duckdb.connect(str(self.database), read_only=True) as tables,
        ):
            found = tables.execute("SELECT max(records_read) FROM run_balance").fetchone()
            return int(found[0] or 0) if found else 0
        return 0

    def until_read(self, count: int) -> float:
        """Waits until so many were read, and returns the time.

        Raises:
          RuntimeError: it takes too long, or the job has ended.
        """
        deadline = time.monotonic() + PATIENCE_S
        while (read := self.read()) < count:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"only {read} of {count} were read: {self._said()}")
            time.sleep(_LOOK_EVERY_S)
        return time.monotonic()

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-2_000:]
