"""The words and phrases of a prompt, found cheaply: what the labels of requests start from.

A text is cut, put into lower case and split once, in C; after that only the words that some list
knows cost Python time. Scripts without blanks are read as pairs of characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

HEAD_CHARS = 800
TAIL_CHARS = 200
"""A longer text is read at its beginning and its end: instructions stand there, documents between
them."""

_PLANE = 1 << 16  # Chinese terms are of the first plane
_KEPT = "+#"  # as in c++ and c#
_TABLE = bytes(
    code if code >= 128 or chr(code).isalnum() or chr(code) in _KEPT else ord(" ")
    for code in range(256)
).lower()
_MARKS = "¿¡“”‘’«»„…–—"  # of other letters than ASCII's; they part words as well
_HAN = re.compile("[\u3400-\u9fff]")
_LATIN = re.compile(rb"[a-z0-9+#]+")
_NUMBER = re.compile(r"\d+")


def is_han(char: str) -> bool:
    """Whether a character is Chinese."""
    return _HAN.match(char) is not None


class Terms:
    """The words of one text.

    Attributes:
      lower: what is read of the text, in lower case.
      words: its distinct words, UTF-8.
      han: whether it has Chinese characters.
    """

    __slots__ = ("_joined", "_ordered", "han", "lower", "words")

    def __init__(self, text: str) -> None:
        if len(text) > HEAD_CHARS + TAIL_CHARS:
            text = text[:HEAD_CHARS] + "\n" + text[-TAIL_CHARS:]
        self.lower = text.lower()
        self._joined = b""
        self.han = False
        if text.isascii():
            self._ordered = text.encode("ascii").translate(_TABLE).split()
        else:
            self.han = _HAN.search(text) is not None
            self._ordered = self._split()
        self.words = set(self._ordered)

    def _split(self) -> list[bytes]:
        plain = self.lower
        if self.han:  # beside Chinese characters a word need not be separated by blanks
            return _LATIN.findall(plain.encode("utf-8", "surrogatepass"))
        for mark in _MARKS:
            plain = plain.replace(mark, " ")
        return plain.encode("utf-8", "surrogatepass").translate(_TABLE).split()

    def joined(self) -> bytes:
        """Its words in order, UTF-8, with one blank before and after each."""
        if not self._joined:  # most texts are never asked
            self._joined = b" " + b" ".join(self._ordered) + b" "
        return self._joined

    def numbers(self) -> int:
        """How many numbers are written in digits."""
        return len(_NUMBER.findall(self.lower))


class Pairs:
    """Finds Chinese terms in many texts at once, by their first two characters.

    Args:
      terms: to find, of two and more characters.

    Raises:
      ValueError: for a term of one character.
    """

    def __init__(self, terms: Iterable[str]) -> None:
        by_pair: dict[int, list[str]] = {}
        self._first, self._second = np.zeros(_PLANE + 1, bool), np.zeros(_PLANE + 1, bool)
        for term in terms:
            if len(term) < 2:
                raise ValueError(f"{term!r} is too short to be found")
            first, second = ord(term[0]), ord(term[1])
            by_pair.setdefault(first * _PLANE + second, []).append(term)
            self._first[first] = self._second[second] = True
        self._pairs = np.array(sorted(by_pair), np.int64)
        self._terms = [by_pair[pair] for pair in self._pairs.tolist()]

    def found(self, texts: Sequence[str]) -> Iterator[tuple[int, str]]:
        """Which text has which term: (position of the text, term), each once, in order."""
        together = "\n".join(texts) + "\n"  # a blank of no term keeps neighbours apart
        chars = np.frombuffer(together.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.int64)
        at = np.flatnonzero(
            self._first.take(chars[:-1], mode="clip") & self._second.take(chars[1:], mode="clip")
        )
        pair = chars[at] * _PLANE + chars[at + 1]
        place = np.searchsorted(self._pairs, pair)
        known = self._pairs.take(place, mode="clip") == pair
        ends = np.cumsum([len(text) + 1 for text in texts])
        owner = np.searchsorted(ends, at[known], side="right")
        hits = np.unique(owner * len(self._pairs) + place[known])
        owners, places = np.divmod(hits, len(self._pairs))
        for i, j in zip(owners.tolist(), places.tolist(), strict=True):
            for term in self._terms[j]:
                if len(term) == 2 or term in texts[i]:
                    yield i, term
