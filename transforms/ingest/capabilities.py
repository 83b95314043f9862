"""Which capability of the model a request asks for (F8 of the science notes).

A request has one label. One that brings tools is `TOOL_USE` whatever it says. Otherwise its words
decide: every entry of the list in `words/capabilities.txt` that the text has adds its weight to a
capability, and the heaviest wins if it reaches `_LEAST`; the lists are in English and Chinese, with
the key terms of German, Spanish and French. A request without text takes the label of its cell, see
`transforms.embedding.labels`. The numbers are part of the sketch: new ones are only added.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache
from importlib.resources import files
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transforms.ingest.terms import Pairs, Terms, is_han

NONE = -1
_LEAST = 2
_WEIGHTS = 16
_LOOKS_LIKE_CODE = 3
_MANY_NUMBERS = 3  # written in digits, beside another word of mathematics: a word problem


class Capability(IntEnum):
    """What a request asks for; at most 16."""

    CODE = 0
    MATHEMATICS = 1
    TOOL_USE = 2
    MEDICINE = 3
    LAW = 4
    FINANCE = 5
    SCIENCE = 6  # natural sciences and engineering
    LANGUAGES = 7  # translation and grammar
    WRITING = 8  # stories, letters, advertisements
    EXTRACTION = 9  # summaries, classification, facts out of a text
    LOGIC = 10  # puzzles and arguments
    KNOWLEDGE = 11  # history, geography, culture, people
    CUSTOMER_SERVICE = 12
    SECURITY = 13


class _Lexicon(NamedTuple):
    """Entries are capability × `_WEIGHTS` + weight.

    Attributes:
      words: by one word of theirs, the phrases (between blanks; b"" for the word alone).
      known: those words.
      han: by Chinese term.
      pairs: finds the Chinese terms.
    """

    words: dict[bytes, list[tuple[bytes, int]]]
    known: frozenset[bytes]
    han: dict[str, list[int]]
    pairs: Pairs


@lru_cache(maxsize=1)
def _lexicon() -> _Lexicon:
    weights: dict[tuple[str, int], int] = {}
    section = NONE
    listed = files("transforms.ingest").joinpath("words/capabilities.txt").read_text("utf-8")
    for line in listed.splitlines():
        if line.startswith("["):
            section = Capability[line.strip("[]").upper()].value
        elif line and not line.startswith("#"):
            heaviness, *entries = line.split()
            for form in chain.from_iterable(map(_forms, entries)):
                weights[form, section] = max(int(heaviness), weights.get((form, section), 0))
    words: dict[bytes, list[tuple[bytes, int]]] = {}
    han: dict[str, list[int]] = {}
    for (form, capability), weight in weights.items():
        number = capability * _WEIGHTS + weight
        if is_han(form[0]):
            han.setdefault(form, []).append(number)
        else:
            joined = Terms(form).joined()
            several = joined.split()
            # The longest word is the rarest, as a rule, so that most phrases are never looked for.
            key = max(several, key=len)
            words.setdefault(key, []).append((joined if len(several) > 1 else b"", number))
    return _Lexicon(words, frozenset(words), han, Pairs(han))


def _forms(entry: str) -> list[str]:
    """An entry of the list and its plural."""
    text = entry.replace("_", " ")
    if not entry.isascii() or len(entry) < 4 or text != entry or entry.endswith("s"):
        return [text]
    return [text, entry[:-1] + "ies" if entry.endswith("y") else entry + "s"]


def capabilities_of(terms: Sequence[Terms], code: Sequence[bool]) -> NDArray[np.int8]:
    """The capability that each of n texts asks for, −1 where its words do not tell: int8 (n,).

    Args:
      terms: of the texts.
      code: whether a text looks like source code, see `scaffold.looks_like_code`.
    """
    lexicon = _lexicon()
    scores = np.zeros((len(terms), len(Capability)), np.int32)
    scores[:, Capability.CODE] = np.array(code, bool) * _LOOKS_LIKE_CODE
    owners: list[int] = []
    entries: list[int] = []
    for i, text in enumerate(terms):
        for word in lexicon.known & text.words:
            for phrase, entry in lexicon.words[word]:
                if not phrase or phrase in text.joined():
                    owners.append(i)
                    entries.append(entry)
    han = [i for i, text in enumerate(terms) if text.han]
    for at, term in lexicon.pairs.found([terms[i].lower for i in han]):
        owners += [han[at]] * len(lexicon.han[term])
        entries += lexicon.han[term]
    capability, weight = np.divmod(np.array(entries, np.int64), _WEIGHTS)
    np.add.at(scores, (np.array(owners, np.int64), capability), weight)
    for i in np.flatnonzero(scores[:, Capability.MATHEMATICS]).tolist():
        if terms[i].numbers() >= _MANY_NUMBERS:
            scores[i, Capability.MATHEMATICS] += 1
    # Of equals the smaller number, whatever the order of the words.
    best = scores.argmax(axis=1)
    enough = scores.max(axis=1, initial=0) >= _LEAST
    return np.where(enough, best, NONE).astype(np.int8)
