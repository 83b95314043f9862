"""A disk that fills: a small filesystem in memory, mounted for a test."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class SmallDisk:
    """A filesystem of its own, in `folder`."""

    folder: Path

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"

    def top_up(self) -> None:
        """Takes what room there is, or has been made since."""
        with suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                with suppress(OSError):
                    while file.write(b"x" * size):
                        pass

    def fill(self) -> None:
        """Leaves no byte free."""
        self.top_up()
        with pytest.raises(OSError, match="No space left") as full:
            (self.folder / "more").write_bytes(b"x" * (1 << 13))
        assert full.value.errno == errno.ENOSPC
        (self.folder / "more").unlink()

    def free(self) -> None:
        """Makes room again."""
        self._ballast.unlink(missing_ok=True)


class CannotMountError(Exception):
    """This process may not mount a filesystem."""


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """A disk that is mounted at a new folder.

    Raises:
      CannotMountError: it may not be.
    """
    folder.mkdir(parents=True)
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise CannotMountError("a small filesystem cannot be mounted: no `mount` here") from None
    if mounted.returncode:
        raise CannotMountError(
            f"a small filesystem cannot be mounted here: {mounted.stderr.strip()}"
        )
    try:
        yield SmallDisk(folder)
    finally:
        # Lazily: a worker that was killed just now may still have a file open.
        subprocess.run(["umount", "-l", str(folder)], check=True)
