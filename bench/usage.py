"""Processor time and memory of a process together with all that it started, from Linux' /proc."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_EVERY_S = 0.25


def _stats() -> dict[int, tuple[int, int, int]]:
    """(parent, clock ticks, resident pages) of each process of the machine.

    Ticks are of all its threads, and of its children that have ended and were waited for.
    """
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        # A process may end while it is looked at.
        with contextlib.suppress(OSError, IndexError, ValueError):
            parts = (folder / "stat").read_text().rpartition(")")[2].split()
            ticks = sum(int(part) for part in parts[11:15])
            found[int(folder.name)] = int(parts[1]), ticks, int(parts[21])
    return found


def family(pid: int) -> dict[int, tuple[int, int]]:
    """(clock ticks, resident pages) of a process and its descendants, by process id."""
    stats = _stats()
    wanted, fresh = set(), {pid}
    while fresh:
        wanted |= fresh
        fresh = {one for one, (parent, *_) in stats.items() if parent in fresh} - wanted
    return {one: stats[one][1:] for one in wanted if one in stats}


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and its descendants so far; steps of a hundredth of a second."""
    return sum(ticks for ticks, _ in family(pid).values()) / _TICKS


def own_peak_mb() -> float:
    """Resident memory of this process, MiB, highest so far.

    Not `ru_maxrss`, which a process has from the one that started it, and keeps if that was larger.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no VmHWM")


class Peak:
    """The most memory that a process and its descendants had together, looked at now and then.

    Pages that processes share count for each of them.

    Attributes:
      mb: MiB so far.
    """

    def __init__(self) -> None:
        self.mb = 0.0

    def look(self, pid: int) -> None:
        """Looks once."""
        pages = sum(pages for _, pages in family(pid).values())
        self.mb = max(self.mb, pages * _PAGE / 2**20)


@contextlib.contextmanager
def watched(pid: int) -> Iterator[Peak]:
    """Looks four times a second, from a thread of this process, while the block runs."""
    peak, done = Peak(), threading.Event()

    def watch() -> None:
        while not done.wait(_EVERY_S):
            peak.look(pid)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
