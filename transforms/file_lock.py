"""One process at a time: for files that are read, changed and written as a whole."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone_with(path: Path) -> Iterator[None]:
    """Waits until nobody else is alone with a file, which need not be there; makes its folder.

    The lock is a file beside it, which stays: one that is replaced cannot be locked itself. It ends
    with the process.

    Raises:
      OSError: there can be no file beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("a") as beside:
        fcntl.flock(beside, fcntl.LOCK_EX)
        yield
