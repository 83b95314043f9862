"""Programs that end together with this process, however it ends."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

# The shell ends the program when its own input ends, which it does however this process ends, even
# by kill -9: an orphan would keep its memory and its port for ever.
_GUARD = 'exec 3<&0; "$@" 3<&- </dev/null & p=$!; (read _ <&3; kill $p 2>/dev/null) & wait $p'


@contextmanager
def guarded(
    command: Sequence[str],
    log: IO[bytes],
    answers: Callable[[], bool],
    patience_s: float,
    failed: Callable[[str], Exception],
    environment: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Runs a program until the block ends; the block begins when it answers.

    It gets no Ctrl-C of its own: this process decides when it ends.

    Args:
      command: program and arguments.
      log: gets what it says.
      answers: whether it does.
      patience_s: how long to wait for that.
      failed: makes the error to raise of the last line that it said, when it does not start.
      environment: of the program; None: as of this process.
    """
    process = subprocess.Popen(
        ["/bin/sh", "-c", _GUARD, command[0], *command],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=environment,
    )
    try:
        deadline = time.monotonic() + patience_s
        while not answers():
            if time.monotonic() > deadline or process.poll() is not None:
                log.seek(0)
                said = log.read().decode(errors="replace").strip().splitlines()
                raise failed(said[-1] if said else "")
            time.sleep(0.05)
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


def free_port() -> int:
    """A loopback port that nobody listens on just now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody listens on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
