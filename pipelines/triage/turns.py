"""Turns at a DuckDB file, so that pages which are asked for without a pause leave room to write.

While this process has the file open, no other process can write to it. It stays open from one page
to the next, since opening it costs as much as reading a case does; but only for a stretch. After
three seconds, or when nobody has read for one, it is let go, and rests for longer than writers wait
between two tries. Who writes in this process goes before who reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Thread

_AT_ONCE = 4  # readers; more would only wait for each other
_STRETCH_S = 3.0
_IDLE_S = 1.0
_SHORT_REST_S = 0.03  # after a pause that was nobody's need
_REST_S = 0.1  # writers try every 0.02 s (`duckdb_refusal.RETRY_S`)


class Turns:
    """See the module. Safe to use from several threads."""

    def __init__(self, let_go: Callable[[], None] = lambda: None) -> None:
        """Args:
        let_go: closes the file; called when nobody reads.
        """
        self._changed = Condition()
        self._let_go = let_go
        self._reading = 0
        self._writing = False
        self._writers = 0  # that write, or wait for it
        self._since: float | None = None  # when the stretch of reading began; None at rest
        self._read_last = 0.0
        self._closed = 0.0
        self._rest_s = 0.0

    @contextmanager
    def read(self) -> Iterator[None]:
        """A turn to read, beside others that do."""
        with self._changed:
            while (wait_s := self._until_read()) != 0:
                self._changed.wait(wait_s)
            if self._since is None:
                self._since = time.monotonic()
                Thread(target=self._end_stretch).start()  # a process that ends waits for it
            self._reading += 1
        try:
            yield
        finally:
            with self._changed:
                self._reading -= 1
                self._read_last = time.monotonic()
                self._changed.notify_all()

    @contextmanager
    def write(self) -> Iterator[None]:
        """A turn to write, alone in this process, with the file let go."""
        with self._changed:
            self._writers += 1
            self._changed.wait_for(lambda: not self._reading and not self._writing)
            self._rest()
            self._writing = True
        try:
            yield
        finally:
            with self._changed:
                self._writing = False
                self._writers -= 1
                self._changed.notify_all()

    def _until_read(self) -> float | None:
        """Seconds to wait; 0 for none, None until something changes."""
        if self._writers:
            return None
        now = time.monotonic()
        if self._since is None:
            return max(self._rest_s - (now - self._closed), 0)
        tired = now - self._since >= _STRETCH_S
        return None if tired or self._reading >= _AT_ONCE else 0

    def _end_stretch(self) -> None:
        """Lets the file go when its time has come; in a thread of each stretch."""
        with self._changed:
            mine = self._since
            while self._since is not None and self._since == mine:
                now = time.monotonic()
                left = self._since + _STRETCH_S - now
                if not self._reading:
                    left = min(left, max(self._read_last, self._since) + _IDLE_S - now)
                    if left <= 0:
                        self._rest()
                        return
                self._changed.wait(left if left > 0 else None)

    def _rest(self) -> None:
        """With the lock held, and nobody reading."""
        if self._since is not None:
            tired = time.monotonic() - self._since >= _STRETCH_S
            self._rest_s = _REST_S if tired else _SHORT_REST_S
            self._since = None
            self._let_go()
            self._closed = time.monotonic()
            self._changed.notify_all()
