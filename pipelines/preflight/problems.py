"""Collects what is wrong, so that all of it is told together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from schemas.errors import DistilwatchError

T = TypeVar("T")


class Preflight:
    """Collects problems; `finish` raises them as one error."""

    def __init__(self) -> None:
        self._problems: list[DistilwatchError] = []

    def check(self, look: Callable[[], T]) -> T | None:
        """Runs a check; the error that it raises is kept for `finish`."""
        try:
            return look()
        except DistilwatchError as problem:
            self._problems.append(problem)
            return None

    def finish(self) -> None:
        """Raises one DistilwatchError when anything was wrong."""
        if not self._problems:
            return
        if len(self._problems) == 1:
            raise self._problems[0]
        listed = "".join(f"\n{i}. {p}" for i, p in enumerate(self._problems, 1))
        raise DistilwatchError(
            f"{len(self._problems)} things must be mended first; nothing was started.{listed}"
        )
