"""`detect` on a topic without an end, as a process, for tests with the small bundle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb

from tests.support.commands import COMMAND

PATIENCE_S = 240  # reached on failure only; a busy machine takes its time


class Stream:
    """One process of `detect`; ended with its `with` block."""

    def __init__(
        self, folder: Path, prism: Path, source: str, bundle: Path, settings: Path,
        *more: object, database: str = "out.duckdb",
    ) -> None:  # fmt: skip
        self.database = folder / database
        self.log = folder / f"{database}.log"
        self._command = [
            str(COMMAND), "detect", "--input", source, "--bundle", str(bundle),
            "--config", str(settings), "--output", f"duckdb:///{self.database}",
            *map(str, more), "--json",
        ]  # fmt: skip
        self._env = os.environ | {"DISTILWATCH_PRISM": str(prism)}
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Stream:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=self.log.open("a"), text=True,
            env=self._env,
        )  # fmt: skip
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    @property
    def process(self) -> subprocess.Popen[str]:
        """The command at work."""
        assert self._process is not None
        return self._process

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows by now; none before there is a table."""
        for _ in range(100):
            with (
                suppress(duckdb.IOException, duckdb.CatalogException),
                duckdb.connect(str(self.database), read_only=True) as connection,
            ):
                connection.execute("SET TimeZone = 'UTC'")
                return connection.execute(sql).fetchall()
            time.sleep(0.05)
        return []

    def errors(self) -> str:
        """The end of what it said, and how it ended."""
        end = ""
        if self._process is not None and self._process.poll() is not None:
            assert self._process.stdout is not None
            with suppress(ValueError):
                end = self._process.stdout.read()
        return self.log.read_text()[-3000:] + end

    def until(self, condition: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
        """Waits for a condition while it runs."""
        assert self._process is not None
        deadline = time.monotonic() + seconds
        while not condition():
            assert self._process.poll() is None, self.errors()
            assert time.monotonic() < deadline, self.errors()
            time.sleep(0.3)

    def until_said(self, words: str) -> None:
        """Waits until it has said something."""
        self.until(lambda: words in self.log.read_text())

    def until_read(self, records: int) -> None:
        """Waits until so many records were read, and all are accounted for."""
        balance = "SELECT max(records_read), max(unaccounted) FROM run_balance"
        self.until(lambda: self.rows(balance) == [(records, 0)])

    def stop(self) -> dict[str, Any]:
        """Interrupts it, and returns its summary."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        out, _ = self._process.communicate(timeout=480)
        assert self._process.returncode == 130, self.errors()
        summary: dict[str, Any] = json.loads(out)
        return summary
