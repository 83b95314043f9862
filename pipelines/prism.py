"""Prism, Beam's streaming runner for one machine: where its binary is, and one while it runs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import DistilwatchError

VARIABLE = "DISTILWATCH_PRISM"
_OPTION = "--prism_location"
_LOCAL = Path(".local/bin/prism")
_START_S = 30.0
# The shell ends Prism when its own input ends, which it does however this process ends, even by
# kill -9: an orphan would keep its memory and its port for ever.
_GUARD = 'exec 3<&0; "$@" 3<&- </dev/null & p=$!; (read _ <&3; kill $p 2>/dev/null) & wait $p'


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

    It gets no Ctrl-C of its own: this process decides when it ends.

    Raises:
      DistilwatchError: it does not start.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [
        str(binary), f"--job_port={port}", "--serve_http=false", "--log_level=error",
        "--log_kind=text",
    ]  # fmt: skip
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "prism", *command],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + _START_S
            while not _answers(port):
                if time.monotonic() > deadline or process.poll() is not None:
                    log.seek(0)
                    said = log.read().decode(errors="replace").strip().splitlines()
                    raise DistilwatchError(
                        f"Prism does not start{': ' + said[-1] if said else ''}",
                        str(binary),
                        "check that it is Prism's binary, for this machine",
                    )
                time.sleep(0.05)
            yield f"127.0.0.1:{port}"
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
