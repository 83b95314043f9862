"""Turns at a DuckDB file, so that pages which are asked for without a pause leave room to write.

While anybody in this process reads the file, no other process can write to it, and neither can this
one. Readers that overlap would keep it open for ever. So after a second of reading the file rests
for a tenth, longer than writers wait between two tries, and who writes here goes before who reads.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

_AT_ONCE = 4  # readers; more would only wait for each other
_STRETCH_S = 1.0
_REST_S = 0.12


class Turns:
    """See the module. Safe to use from several threads."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._reading = 0
        self._writing = False
        self._writers = 0  # that write, or wait for it
        self._since = 0.0  # when the stretch of reading began
        self._closed = 0.0

    @contextmanager
    def read(self) -> Iterator[None]:
        """A turn to read, beside others that do."""
        with self._changed:
            while (wait_s := self._until_read()) != 0:
                self._changed.wait(wait_s)
            self._reading += 1
        try:
            yield
        finally:
            with self._changed:
                self._reading -= 1
                self._closed = time.monotonic()
                self._changed.notify_all()

    @contextmanager
    def write(self) -> Iterator[None]:
        """A turn to write, alone in this process."""
        with self._changed:
            self._writers += 1
            self._changed.wait_for(lambda: not self._reading and not self._writing)
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
        tired = now - self._since >= _STRETCH_S
        if self._reading:
            return None if tired or self._reading >= _AT_ONCE else 0
        rested = now - self._closed
        if rested >= _REST_S:
            self._since = now
            return 0
        return _REST_S - rested if tired else 0
