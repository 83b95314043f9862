"""Spans as a listener hears them, without a collector."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from transforms.spans import Attributes, heard_by

Told = tuple[str, Attributes, str]
"""Name, attributes as they were at the end, and the type of what it failed with; "" for nothing."""


@contextmanager
def recorded() -> Iterator[list[Told]]:
    """All spans of the block that have ended, in the order of their ends."""
    found: list[Told] = []

    @contextmanager
    def listen(name: str, attributes: Attributes) -> Iterator[None]:
        failed = ""
        try:
            yield
        except BaseException as error:
            failed = type(error).__name__
            raise
        finally:
            found.append((name, attributes, failed))

    with heard_by(listen):
        yield found
