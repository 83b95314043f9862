"""Prism, Beam's streaming runner for one machine: where its binary is, and one while it runs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pipelines.guarded import free_port, guarded, listens
from schemas.errors import DistilwatchError

VARIABLE = "DISTILWATCH_PRISM"
_OPTION = "--prism_location"
_LOCAL = Path(".local/bin/prism")
_START_S = 30.0


def find_prism(beam_args: Sequence[str] = ()) -> Path:
    """The binary: of Beam's option --prism_location, the environment, ./.local, or PATH.

    Raises:
      DistilwatchError: there is none.
    """
    for i, arg in enumerate(beam_args):
        name, equals, value = arg.partition("=")
        if name == _OPTION:
            value = value if equals else [*beam_args, ""][i + 1]
            return _runnable(Path(value), f"{_OPTION} {value}")
    if named := os.environ.get(VARIABLE):
        return _runnable(Path(named), f"{VARIABLE}={named}")
    if os.access(_LOCAL, os.X_OK):
        return _LOCAL.absolute()
    if found := shutil.which("prism"):
        return Path(found)
    from apache_beam.version import __version__ as beam_version

    raise DistilwatchError(
        "an endless topic needs Prism, Beam's streaming runner, and it is not installed",
        f"looked at ${VARIABLE}, {_LOCAL} and PATH",
        f"`make services` builds it into .local; elsewhere, get the binary of Beam {beam_version} "
        f"and set {VARIABLE} to it",
    )


def _runnable(path: Path, where: str) -> Path:
    if path.is_file() and os.access(path, os.X_OK):
        return path.absolute()
    raise DistilwatchError("there is no program there", where, "give the path of Prism's binary")


@contextmanager
def prism_running(binary: Path) -> Iterator[str]:
    """Starts Prism and yields its address; it ends with the block, or with this process.

    Raises:
      DistilwatchError: it does not start.
    """
    port = free_port()
    command = [
        str(binary), f"--job_port={port}", "--serve_http=false", "--log_level=error",
        "--log_kind=text",
    ]  # fmt: skip
    with (
        tempfile.TemporaryFile() as log,
        guarded(command, log, partial(listens, port), _START_S, partial(_failed, binary)),
    ):
        yield f"127.0.0.1:{port}"


def _failed(binary: Path, said: str) -> DistilwatchError:
    return DistilwatchError(
        f"Prism does not start{': ' + said if said else ''}",
        str(binary),
        "check that it is Prism's binary, for this machine",
    )
