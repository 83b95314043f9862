"""Ctrl-C while a command starts: remembered, in case that somebody else's code swallows it.

Importing takes seconds, and some libraries catch everything around an import of their own. An
interrupt that falls there is gone without a word, and a stream would go on for ever that somebody
has stopped. So it is noted, and raised again at the next place where a command looks.

Nothing but Python's own is imported here: it is in place before all else.
"""

from __future__ import annotations

import signal
from types import FrameType

_swallowed = False


def _note(number: int, frame: FrameType | None) -> None:
    global _swallowed
    _swallowed = True
    raise KeyboardInterrupt


def remember() -> None:
    """From now on interrupts are remembered, until another handler takes the place of this one.

    Whoever has started us with interrupts ignored, as `nohup` and shells do in the background, has
    meant it.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _note)


def raise_swallowed() -> None:
    """Raises the KeyboardInterrupt that came since `remember`, and that nobody has heeded."""
    global _swallowed
    if _swallowed:
        _swallowed = False
        raise KeyboardInterrupt
