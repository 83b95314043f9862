"""What a command tells its user while it runs: progress on standard error, results on standard out.

On a terminal a step is a line with a bar that moves; elsewhere it is a plain line now and then, so
that logs stay readable; with `--json` nothing is said before the one JSON object at the end.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pipelines import log_form
from pipelines.interrupts import raise_swallowed
from schemas.errors import DistilwatchError, printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_PLAIN_EVERY_S = 5.0
_FAILED = "Error processing instruction"
_FOLLOWS_S = 10.0
# Beam warns of the first at every start, and of the second with every model that it loads; both
# concern what is not used here.
_BESIDE_THE_POINT = ("apitools not found", "memory usage cannot be fetched")
# Loggers that say these, and that say with a traceback what our own errors say in a line.
_OF_BEAM = (None, "apache_beam.runners.common", "apache_beam.runners.worker.sdk_worker")


class Console:
    """Progress and results of one command; close it, or use it in a `with` statement.

    Args:
      as_json: results are one JSON object on standard output, and nothing else is said.
      plain: lines instead of a moving bar; by default where standard error is no terminal.
    """

    def __init__(self, as_json: bool = False, plain: bool | None = None) -> None:
        self.as_json = as_json
        self._plain = not sys.stderr.isatty() if plain is None else plain
        self._lines_of_json = False
        self._began = time.monotonic()
        self._said = 0.0
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._label = ""
        for name in _OF_BEAM:
            logging.getLogger(name).addFilter(_worth_reading)

    def log_as(self, form: str) -> None:
        """Says everything from now on as lines of text, or with "json" as one object each; what
        libraries log, too, and the error that ends the command."""
        log_form.set_form(form)
        if form == "json":
            from pipelines.observe.logs import log_as_json

            self.close()
            self._plain = self._lines_of_json = True
            log_as_json()
            for handler in logging.getLogger().handlers:
                handler.addFilter(_worth_reading)

    # --- while it runs -----------------------------------------------------------------------

    def step(self, text: str) -> None:
        """Begins a step, which ends the one before; an interrupt that was swallowed counts here."""
        raise_swallowed()
        self._end_step()
        self._label = text
        if self.as_json:
            return
        if self._plain:
            self._line(text)
        else:
            self._task = self._rich().add_task(_escape(_shown(text)), total=None, counted="")

    def progress(self, done: int, total: int | None = None, unit: str = "") -> None:
        """How far the step is.

        Args:
          done: units so far.
          total: units in all; None when nobody knows, as with a stream.
          unit: what is counted, such as "events".
        """
        if self.as_json:
            return
        counted = f"{done:,}" + (f" of {total:,}" if total else "") + (f" {unit}" if unit else "")
        if self._plain:
            if time.monotonic() - self._said >= _PLAIN_EVERY_S:
                self._line(f"{self._label}: {counted}")
        elif self._task is not None:
            self._rich().update(self._task, completed=done, total=total, counted=counted)

    def note(self, text: str) -> None:
        """Says something that stays on the screen."""
        if self.as_json:
            return
        if self._plain:
            self._line(text)
        else:
            self._rich().console.print(f"[dim]  {_escape(_shown(text))}[/dim]", highlight=False)

    def warn(self, text: str) -> None:
        """Says something that the user should know about the result; also with --json."""
        if self._bar is not None:
            self._bar.console.print(f"[yellow]! {_escape(_shown(text))}[/yellow]", highlight=False)
        elif self._lines_of_json:
            from pipelines.observe.logs import line

            print(line("warning", text, step=self._label), file=sys.stderr, flush=True)
        else:
            print(f"warning: {_shown(text)}", file=sys.stderr, flush=True)

    # --- at the end --------------------------------------------------------------------------

    def result(
        self,
        summary: Mapping[str, Any],
        lines: Sequence[str] = (),
        wrote: Sequence[str] = (),
        then: Sequence[str] = (),
    ) -> None:
        """Says what came out: the JSON object, or lines, what was written, and what to do next.

        Args:
          summary: for machines; gets `wrote` and `next` added.
          lines: for people.
          wrote: files and addresses.
          then: commands, or advice.
        """
        self.close()
        then = [as_called(item) for item in then]
        if self.as_json:
            print(json.dumps({**summary, "wrote": list(wrote), "next": list(then)}, default=str))
            return
        for line in lines:
            print(_shown(line))
        if wrote:
            print("\nWritten" + f" in {time.monotonic() - self._began:.1f} s:")
            for item in wrote:
                print(f"  {_shown(item)}")
        if then:
            print("\nNext:")
            for item in then:
                print(f"  {_shown(item)}")
        sys.stdout.flush()

    def print(self, renderable: Any) -> None:
        """Shows a text or a rich table on standard output; not with --json. Names out of requests
        may be in it: what a terminal would obey is replaced."""
        if self.as_json:
            return
        from rich.console import Console as RichConsole
        from rich.segment import Segment, Segments

        self._end_step()
        width = None if sys.stdout.isatty() else 110
        screen = RichConsole(width=width, highlight=False)
        parts = (s if s.control else Segment(_shown(s.text), s.style)
                 for s in screen.render(renderable))  # fmt: skip
        screen.print(Segments(parts), end="")

    def close(self) -> None:
        """Takes the bar off the screen, the finished steps stay."""
        self._end_step()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    # --- inside ------------------------------------------------------------------------------

    def _line(self, text: str) -> None:
        self._said = time.monotonic()
        if self._lines_of_json:
            from pipelines.observe.logs import line

            print(line("info", text, step=self._label), file=sys.stderr, flush=True)
            return
        print(f"[{self._said - self._began:6.1f} s] {_shown(text)}", file=sys.stderr, flush=True)

    def _rich(self) -> Progress:
        if self._bar is None:
            from rich.console import Console as RichConsole
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
            from rich.progress import TimeElapsedColumn as Elapsed

            self._bar = Progress(
                SpinnerColumn(finished_text="[green]✓[/green]"),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("[dim]{task.fields[counted]}[/dim]"),
                Elapsed(),
                console=RichConsole(stderr=True),
            )
            self._bar.start()
        return self._bar

    def _end_step(self) -> None:
        if self._bar is not None and self._task is not None:
            task = self._bar.tasks[self._bar.task_ids.index(self._task)]
            total = max(task.completed, 1)
            self._bar.update(self._task, completed=total, total=total)
        self._task = None


def as_called(text: str) -> str:
    """A command of ours as it can be typed here: by its path where PATH does not have it."""
    called = Path(sys.argv[0])
    if not text.startswith("distilwatch ") or called.name != "distilwatch":
        return text
    if shutil.which("distilwatch") is not None:
        return text
    return os.path.relpath(called) + text.removeprefix("distilwatch")


class _WorthReading(logging.Filter):
    """Lets through what users should read of what Beam logs."""

    def __init__(self) -> None:
        super().__init__()
        self._told = -math.inf

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        problem = record.exc_info[1] if record.exc_info else None
        # The command says in a word that it was interrupted; where Beam was then, nobody asks.
        told = isinstance(problem, DistilwatchError | KeyboardInterrupt | SystemExit)
        told |= f"{DistilwatchError.__module__}.{DistilwatchError.__name__}: " in said
        if told:
            self._told = time.monotonic()
        # What else a worker was about is cancelled then, which it tells with a traceback each.
        follows = _FAILED in said and time.monotonic() - self._told < _FOLLOWS_S
        return not (told or follows or any(words in said for words in _BESIDE_THE_POINT))


_worth_reading = _WorthReading()


def _shown(text: str) -> str:
    return printable(text, "\n\t")


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
