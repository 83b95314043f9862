"""Tell-tale wordings: what a prompt is for, where it says so (F9, F12, F27 of the science notes).

A request has one label, the most telling of those whose wording it has; most have none. The
wordings (`words/intents.txt`) are in English and Chinese, the commonest in German, Spanish and
French, too. All of them also occur in ordinary use: it is their share of an account's requests that
tells. The numbers are part of the sketch: new ones are only added.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transforms.ingest.terms import Terms

NONE = -1
_MANY = (
    r"(?:\d+|several|multiple|many|various|diverse|different|new|more|two|three|five|ten|twenty)"
)


class Intent(IntEnum):
    """What a prompt is for; at most 8."""

    REASONING_ELICITATION = 0  # the way of thinking is to be written out
    GRADING = 1  # answers are to be scored or compared
    TASK_GENERATION = 2  # new instructions, questions or problems
    EVOLVING = 3  # a given prompt is to be made harder
    DATA_SYNTHESIS = 4  # training data, question and answer pairs
    REWRITING = 5  # many wordings of the same
    SELF_CHAT = 6  # a talk of a user with an assistant is to be invented


class _Wording(NamedTuple):
    """The wordings of one intent.

    Attributes:
      intent: its number.
      words: only texts with one of these are looked at.
      latin: for texts in other letters than Chinese.
      characters: the same as `words`, of Chinese texts.
      han: for Chinese texts.
    """

    intent: int
    words: frozenset[bytes]
    latin: re.Pattern[str]
    characters: list[str]
    han: re.Pattern[str]


@lru_cache(maxsize=1)
def _wordings() -> tuple[_Wording, ...]:
    """Of every intent, the most telling first."""
    listed = files("transforms.ingest").joinpath("words/intents.txt").read_text("utf-8")
    lines = [line for line in listed.splitlines() if line and not line.startswith("#")]
    parts: dict[str, dict[str, list[str]]] = {}
    for line in lines:
        if line.startswith("["):
            part = parts.setdefault(line.strip("[]"), {})
        else:
            kind, _, value = line.partition(" ")
            part.setdefault(kind, []).append(value)
    return tuple(
        _Wording(
            Intent[name.upper()].value,
            frozenset(word.encode() for word in part["words"][0].split()),
            _any_of(part["latin"]),
            part["characters"][0].split(),
            _any_of(part["han"]),
        )
        for name, part in parts.items()
    )


def _any_of(expressions: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(expressions).replace("<many>", _MANY), re.DOTALL)


@lru_cache(maxsize=1)
def _all_words() -> frozenset[bytes]:
    return frozenset[bytes]().union(*(wording.words for wording in _wordings()))


def intents_of(terms: Sequence[Terms]) -> NDArray[np.int8]:
    """The most telling wording of each of n texts, −1 where there is none: int8 of shape (n,)."""
    return np.array([_intent_of(text) for text in terms], np.int8)


def _intent_of(text: Terms) -> int:
    there = _all_words() & text.words
    if there:
        for wording in _wordings():
            if not wording.words.isdisjoint(there) and wording.latin.search(text.lower):
                return wording.intent
    if text.han:
        for wording in _wordings():
            if any(c in text.lower for c in wording.characters) and wording.han.search(text.lower):
                return wording.intent
    return NONE
