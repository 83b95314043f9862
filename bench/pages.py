"""Parts of documentation that a command makes, between marks of the page."""

from __future__ import annotations

from collections.abc import Sequence


def marks(name: str) -> tuple[str, str]:
    """The lines before and after a part."""
    return f"<!-- {name}: made by a command -->", f"<!-- end of {name} -->"


def written(page: str, name: str, lines: Sequence[str]) -> str:
    """The page with other lines in a part.

    Args:
      page: all of it.
      name: of the part.
      lines: to stand there.

    Raises:
      ValueError: the page has no such part.
    """
    begin, end = marks(name)
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"no {begin} … {end} in the page")
    return "\n".join([before + begin, "", *lines, "", end]) + after
