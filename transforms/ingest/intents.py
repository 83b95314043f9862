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

from transforms.ingest.terms import Pairs, Terms

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


class _Wordings(NamedTuple):
    """Expressions of all intents, the most telling first.

    Attributes:
      found: (intent, expression) pairs.
      latin: by word, the expressions of texts that have it.
      words: those words.
      han: the same for Chinese texts, by two and more characters.
      pairs: finds those.
    """

    found: list[tuple[int, re.Pattern[str]]]
    latin: dict[bytes, list[int]]
    words: frozenset[bytes]
    han: dict[str, list[int]]
    pairs: Pairs


@lru_cache(maxsize=1)
def _wordings() -> _Wordings:
    listed = files("transforms.ingest").joinpath("words/intents.txt").read_text("utf-8")
    found: list[tuple[int, re.Pattern[str]]] = []
    latin: dict[bytes, list[int]] = {}
    han: dict[str, list[int]] = {}
    intent = NONE
    for line in listed.splitlines():
        if line.startswith("["):
            intent = Intent[line.strip("[]").upper()].value
        elif line and not line.startswith("#"):
            letters, words, expression = line.split(" ", 2)
            for word in words.split(","):
                if letters == "latin":
                    latin.setdefault(word.encode(), []).append(len(found))
                else:
                    han.setdefault(word, []).append(len(found))
            found.append((intent, re.compile(expression.replace("<many>", _MANY), re.DOTALL)))
    return _Wordings(found, latin, frozenset(latin), han, Pairs(han))


def intents_of(terms: Sequence[Terms]) -> NDArray[np.int8]:
    """The most telling wording of each of n texts, −1 where there is none: int8 of shape (n,)."""
    wordings = _wordings()
    places = [
        {i for word in wordings.words & text.words for i in wordings.latin[word]} for text in terms
    ]
    han = [i for i, text in enumerate(terms) if text.han]
    for at, part in wordings.pairs.found([terms[i].lower for i in han]):
        places[han[at]].update(wordings.han[part])
    labels = map(_first_found, terms, places)
    return np.fromiter(labels, np.int8, len(terms))


def _first_found(text: Terms, places: set[int]) -> int:
    wordings = _wordings()
    for i in sorted(places):
        intent, expression = wordings.found[i]
        if expression.search(text.lower):
            return intent
    return NONE
