"""Spans: what took how long, for whoever listens.

Nobody does, unless a command says so (`pipelines.observe.traces`); a span costs next to nothing
then. Attributes are counts, kinds, and names that the settings give. Never put into one what an
event brought: no text, no account, no fingerprint, and no message of an error, which may quote one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Attributes = dict[str, str | int | float | bool]
Listener = Callable[[str, Attributes], AbstractContextManager[None]]
"""Called with a span's name and attributes; these may still change until the block ends."""

_listener: Listener | None = None


@contextmanager
def span(name: str, **attributes: str | int | float | bool) -> Iterator[Attributes]:
    """Tells the listener how long the block takes, and whether it fails.

    Args:
      name: of the kind of work, the same each time.
      attributes: see the module.

    Yields:
      The attributes, for what is known only later.
    """
    if _listener is None:
        yield attributes
        return
    with _listener(name, attributes):
        yield attributes


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Lets a listener hear the spans of this process while the block runs."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before
