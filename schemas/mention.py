"""Whether a text names something: an id as a word of its own, not as a part of a longer one."""

from __future__ import annotations

import re

_EDGE = r"[^\w-]"


def mention(name: str) -> str:
    """A regular expression that finds a name, for RE2 (DuckDB, BigQuery) and, with `re.ASCII`, for
    Python; `acct-1` is not in `acct-12`, nor `42` in `1042`."""
    return f"(?:^|{_EDGE}){re.escape(name)}(?:$|{_EDGE})"


def mentions(text: str, name: str) -> bool:
    """Whether a text names it."""
    return re.search(mention(name), text, re.ASCII) is not None
