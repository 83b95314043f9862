"""Ctrl-C and SIGTERM, before a command has handlers of its own, and those of one that goes on.

Importing takes seconds, and some libraries catch everything around an import of their own. A Ctrl-C
that falls there is gone without a word, and a stream would go on for ever that somebody has
stopped. So it is noted, and raised again at the next place where a command looks.

SIGTERM, as of `timeout`, of a supervisor or of a shutdown, ends a command as an error does: its
folder of what is passing, where rows name accounts, and files that are half written go with it. A
second one ends it at once.

Nothing but Python's own is imported here: it is in place before all else.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_swallowed = False


def _note(number: int, frame: FrameType | None) -> None:
    global _swallowed
    _swallowed = True
    raise KeyboardInterrupt


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise SystemExit(128 + number)


def remember() -> None:
    """From now on interrupts are remembered, until another handler takes the place of this one.

    Whoever has started us with interrupts ignored, as `nohup` and shells do in the background, has
    meant it.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _note)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _end)


def raise_swallowed() -> None:
    """Raises the KeyboardInterrupt that came since `remember`, and that nobody has heeded."""
    global _swallowed
    if _swallowed:
        _swallowed = False
        raise KeyboardInterrupt


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; a second Ctrl-C interrupts at once."""
    stop = threading.Event()

    def handle(number: int, _: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        raise_swallowed()
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
