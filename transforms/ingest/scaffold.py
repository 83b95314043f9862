"""Hashes of a prompt's fixed wording: its first and its last words, with what varies masked."""

from __future__ import annotations

import re

from transforms.ingest.hashing import hash64

_WORDS = 8
_REACH = 400
_CHARS = 16
_MASKED = re.compile(r"https?://\S+|\d+|\"[^\"\n]*\"|`[^`\n]*`")
_SPLIT = re.compile(r"[^\w#]+")
_CODE = re.compile(r"```|\bdef |\breturn\b|#include|[;{}]\s*\n|</\w+>|\bSELECT\b.+\bFROM\b")


def scaffolds(text: str) -> tuple[int, int]:
    """Hashes of the first and the last eight masked words, 0 for texts that are too short.

    Scripts that do not separate words count their first and last sixteen characters.
    """
    head = [w for w in _SPLIT.split(_MASKED.sub("#", text[:_REACH]).casefold()) if w]
    tail = [w for w in _SPLIT.split(_MASKED.sub("#", text[-_REACH:]).casefold()) if w]
    if len(head) <= _WORDS:
        if len(text) < 2 * _CHARS or text.isascii():
            return 0, 0
        return hash64("h" + text[:_CHARS]), hash64("t" + text[-_CHARS:])
    return hash64("h" + " ".join(head[:_WORDS])), hash64("t" + " ".join(tail[-_WORDS:]))


def looks_like_code(text: str) -> bool:
    """A cheap test for source code in the first part of a prompt."""
    return bool(_CODE.search(text[:2_000]))
