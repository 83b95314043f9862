"""Hashes of a prompt's fixed wording: its first and its last words, and the sentences that these
stand in, with what varies masked.

`scaffolds` says what is meant, one text at a time and with regular expressions. `scaffold_columns`
gives the same hashes for a whole batch from one buffer of characters in numpy, where a text costs
array time; the few texts whose masks depend on one another (two kinds of quotes in one window, or a
URL) go through `scaffolds`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transforms.ingest.hashing import hash64, hash_texts

_WORDS = 8
_REACH = 400
_CHARS = 16
_MASKED = re.compile(r"https?://\S+|\d+|\"[^\"\n]*\"|`[^`\n]*`")
_WORD_RUN = re.compile(r"[\w#]+")
_END = re.compile(r"[\n。！？：]|[.!?:](?=\s)")
_COLONS = ":："  # end an opening ("Translate this:"); what they are behind belongs to a closing
_CODE = (
    ("def ", re.compile(r"\bdef ")),
    ("return", re.compile(r"\breturn\b")),
    ("</", re.compile(r"</\w+>")),
    ("SELECT", re.compile(r"\bSELECT\b.+\bFROM\b")),
)
_LINE_ENDS = re.compile(r"[;{}]\s*\n")

_CHUNK_CHARS = 1 << 17  # keeps the arrays of a chunk inside the cache
_ASSIGNED = 0x40000  # beyond lie no letters and no digits
_WORD, _DIGIT, _DOUBLE, _BACK, _STOP, _ALWAYS, _COLON, _SPACE = 1, 2, 4, 8, 16, 32, 64, 128
_HASH, _BLANK, _NEWLINE = ord("#"), ord(" "), ord("\n")


class ScaffoldHashes(NamedTuple):
    """Hashes of a text's wording, each 0 where it has none.

    Attributes:
      prefix, suffix: of the first and the last eight masked words. Scripts that do not separate
        words count their first and last sixteen characters.
      opening: of the words from the beginning to the end of the sentence or line that the eighth
        word is in, or to a colon.
      closing: of those from the beginning of the sentence or line that the eighth word from the end
        is in, to the end. Both only where that is more than the eight words, and not all of what is
        looked at: what surrounds a question ends before the question does.
    """

    prefix: int = 0
    suffix: int = 0
    opening: int = 0
    closing: int = 0


class ScaffoldColumns(NamedTuple):
    """`ScaffoldHashes` of n texts: four uint64 arrays of shape (n,)."""

    prefix: NDArray[np.uint64]
    suffix: NDArray[np.uint64]
    opening: NDArray[np.uint64]
    closing: NDArray[np.uint64]


def scaffolds(text: str) -> ScaffoldHashes:
    """The hashes of one text."""
    first, last = _Window(text[:_REACH]), _Window(text[-_REACH:])
    if len(first.words) <= _WORDS:
        return ScaffoldHashes(*_edges(text))
    return ScaffoldHashes(
        hash64("h" + first.joined(0, _WORDS)),
        hash64("t" + last.joined(-_WORDS, None)) if last.words else 0,
        hash64("o" + first.joined(0, stop)) if (stop := first.opening()) else 0,
        hash64("c" + last.joined(start, None)) if (start := last.closing()) else 0,
    )


class _Window:
    """The words of one window, masked, and where sentences end in it."""

    def __init__(self, text: str) -> None:
        self._text = _MASKED.sub("#", text) + "\n"
        self.words = list(_WORD_RUN.finditer(self._text))
        self._ends = [end.start() for end in _END.finditer(self._text)]

    def joined(self, start: int, stop: int | None) -> str:
        """Some of the words, whatever their case and what stands between them."""
        return " ".join(word.group() for word in self.words[start:stop]).casefold()

    def opening(self) -> int:
        """How many words the opening has; 0: there is none."""
        eighth = self.words[_WORDS - 1].end()
        end = next(end for end in self._ends if end >= eighth)
        count = sum(word.start() < end for word in self.words)
        return count if _WORDS < count < len(self.words) else 0

    def closing(self) -> int:
        """Which word the closing begins with; 0: there is none."""
        if len(self.words) < _WORDS:
            return 0
        eighth = self.words[-_WORDS].start()
        ends = (end for end in self._ends if end < eighth and self._text[end] not in _COLONS)
        end = max(ends, default=-1)
        start = sum(word.start() < end for word in self.words)
        return start if start < len(self.words) - _WORDS else 0


def _edges(text: str) -> tuple[int, int]:
    if len(text) < 2 * _CHARS or text.isascii():
        return 0, 0
    return hash64("h" + text[:_CHARS]), hash64("t" + text[-_CHARS:])


def scaffold_columns(texts: Sequence[str]) -> ScaffoldColumns:
    """`scaffolds` of n texts."""
    out = ScaffoldColumns(*(np.zeros(len(texts), np.uint64) for _ in ScaffoldColumns._fields))
    plain = [i for i, text in enumerate(texts) if text.isascii()]
    other = [i for i, text in enumerate(texts) if not text.isascii()]
    for rows in (*_chunks(plain, texts), *_chunks(other, texts)):
        _fill([texts[i] for i in rows], np.array(rows), out)
    return out


def _chunks(rows: list[int], texts: Sequence[str]) -> Iterator[list[int]]:
    start, size = 0, 0
    for at, i in enumerate(rows):
        size += min(len(texts[i]), 2 * _REACH)
        if size >= _CHUNK_CHARS:
            yield rows[start : at + 1]
            start, size = at + 1, 0
    if start < len(rows):
        yield rows[start:]


def _fill(texts: list[str], rows: NDArray[np.int64], out: ScaffoldColumns) -> None:
    """Writes the hashes of a chunk of texts, all ASCII or none, to their rows."""
    long = [i for i, text in enumerate(texts) if len(text) > _REACH]
    windows = [text[:_REACH] for text in texts] + [texts[i][-_REACH:] for i in long]
    of_tail = np.arange(len(texts))  # in short texts one window is both
    of_tail[long] = len(texts) + np.arange(len(long))
    words = _Words(windows, texts[0].isascii())
    several = words.count[: len(texts)] > _WORDS
    awkward = words.awkward[: len(texts)] | words.awkward[of_tail]
    for i in np.flatnonzero(awkward | ~several).tolist():
        found = scaffolds(texts[i]) if awkward[i] else ScaffoldHashes(*_edges(texts[i]))
        for column, value in zip(out, found, strict=True):
            column[rows[i]] = value
    usual = np.flatnonzero(several & ~awkward)
    tails = of_tail[usual]

    def write(column: NDArray[np.uint64], texts: NDArray[np.int64], hashed: list[str]) -> None:
        column[rows[texts]] = hash_texts(hashed)

    write(out.prefix, usual, words.first("h", usual, np.minimum(words.count[usual], _WORDS)))
    some = words.count[tails] > 0
    few = np.minimum(words.count[tails[some]], _WORDS)
    write(out.suffix, usual[some], words.last("t", tails[some], few))
    opening, closing = words.opening(usual), words.closing(tails)
    at = opening > 0
    write(out.opening, usual[at], words.first("o", usual[at], opening[at]))
    at = closing > 0
    write(out.closing, usual[at], words.last("c", tails[at], closing[at]))


class _Words:
    """Masked words of n windows, ASCII or not.

    Attributes:
      count: int64 of shape (n,), words in each window.
      awkward: bool of shape (n,): masks depend on one another, count nothing on the words.
    """

    def __init__(self, windows: list[str], ascii_only: bool) -> None:
        text = "\n".join(windows) + "\n"
        chars, kinds, shown = (_ascii if ascii_only else _unicode)(text)
        stops = np.cumsum(np.fromiter(map(len, windows), np.int64, len(windows)) + 1)
        starts = np.concatenate([[0], stops[:-1]])
        present = np.bitwise_or.reduceat(kinds, starts)
        self.awkward = (present & (_DOUBLE | _BACK)) == _DOUBLE | _BACK
        self.awkward |= _has_url(text, stops)

        digit = (kinds & _DIGIT) != 0
        hidden = np.zeros(len(chars), bool)  # all of a mask but its first character
        hidden[1:] = digit[1:] & digit[:-1]
        masked = digit & ~hidden
        word = (kinds & _WORD) != 0
        if (present & (_DOUBLE | _BACK)).any():
            _hide_quoted(chars, kinds, hidden, masked)
            shown[masked] = _HASH
            word |= masked | hidden
        edge = np.flatnonzero(word[1:] != word[:-1]) + 1  # the last character is no word's
        if word[0]:
            edge = np.concatenate([[0], edge])
        self._begin, self._end = edge[0::2], edge[1::2]
        bounds = np.searchsorted(self._begin, np.concatenate([starts, stops[-1:]]))
        self._first, self._last = bounds[:-1], bounds[1:]
        self.count = self._last - self._first
        end = np.flatnonzero(kinds & _STOP)
        after = kinds[np.minimum(end + 1, len(kinds) - 1)]
        end = end[((kinds[end] & _ALWAYS) | (after & _SPACE)) != 0]
        self._ends = end[~(hidden[end] | masked[end])]
        self._breaks = self._ends[(kinds[self._ends] & _COLON) == 0]

        kept = ~hidden
        kept[1:] &= word[1:] | word[:-1]  # one character between words
        self._place = np.cumsum(kept, dtype=np.int32)  # one more than the index in what is shown
        encoding = "ascii" if ascii_only else "utf-32-le"
        self._text = shown[kept].tobytes().decode(encoding, "surrogatepass")
        self._ascii_only = ascii_only

    def opening(self, windows: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many words the openings of some windows of more than eight words have; 0: none."""
        eighth = self._end[self._first[windows] + _WORDS - 1]
        # The last character of all ends a line, so there is an end after every word.
        end = self._ends[np.searchsorted(self._ends, eighth)]
        count = np.searchsorted(self._begin, end) - self._first[windows]
        return self._if_a_part(count, windows)

    def closing(self, windows: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many words the closings of some windows have; 0: none."""
        # Of a window with fewer words this is a word of one before, and what comes of it no part.
        eighth = self._begin[np.maximum(self._last[windows] - _WORDS, 0)]
        before = np.searchsorted(self._breaks, eighth) - 1
        end = np.where(before >= 0, self._breaks[before], -1)
        count = self._last[windows] - np.searchsorted(self._begin, end)
        return self._if_a_part(count, windows)

    def _if_a_part(self, count: NDArray[np.int64], windows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where((count > _WORDS) & (count < self.count[windows]), count, 0)

    def first(self, prefix: str, windows: NDArray[np.int64], count: NDArray[np.int64]) -> list[str]:
        """So many first words of some windows, one at least, with blanks between."""
        low = self._first[windows]
        return self._joined(prefix, low, low + count)

    def last(self, prefix: str, windows: NDArray[np.int64], count: NDArray[np.int64]) -> list[str]:
        """The same of last words."""
        high = self._last[windows]
        return self._joined(prefix, high - count, high)

    def _joined(self, prefix: str, low: NDArray[np.int64], high: NDArray[np.int64]) -> list[str]:
        begin = (self._place[self._begin[low]] - 1).tolist()
        # Kept or hidden, a word's last character has the count of those shown up to it.
        end = self._place[self._end[high - 1] - 1].tolist()
        text = self._text
        if self._ascii_only:
            return [prefix + text[b:e] for b, e in zip(begin, end, strict=True)]
        return [prefix + text[b:e].casefold() for b, e in zip(begin, end, strict=True)]


_Chars = tuple[NDArray[Any], NDArray[np.uint8], NDArray[Any]]


def _ascii(text: str) -> _Chars:
    """Characters, their kinds, and how they are shown: a mask for digits, a blank for what is no
    word, and the rest in lower case."""
    raw = text.encode("ascii")
    kinds, shown = _ascii_tables()
    return (
        np.frombuffer(raw, np.uint8),
        np.frombuffer(raw.translate(kinds), np.uint8),
        np.frombuffer(bytearray(raw.translate(shown)), np.uint8),
    )


def _unicode(text: str) -> _Chars:
    """The same of any text; its case is left for later."""
    chars = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    kinds = _kinds(_ASSIGNED).take(chars, mode="clip")
    shown = chars.copy()
    np.putmask(shown, (kinds & _WORD) == 0, _BLANK)
    np.putmask(shown, (kinds & _DIGIT) != 0, _HASH)
    return chars, kinds, shown


def _has_url(text: str, stops: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which windows, which end at `stops` in the text, may have a URL: bool of shape (n,)."""
    found = np.zeros(len(stops), bool)
    at = text.find("://")
    while at >= 0:
        found[np.searchsorted(stops, at, side="right")] = True
        at = text.find("://", at + 1)
    return found


def _hide_quoted(
    chars: NDArray[Any],
    kinds: NDArray[np.uint8],
    hidden: NDArray[np.bool_],
    masked: NDArray[np.bool_],
) -> None:
    """Masks what stands between the 1st and 2nd, 3rd and 4th, … quote of a line."""
    quote = np.flatnonzero(kinds & (_DOUBLE | _BACK))
    line = np.searchsorted(np.flatnonzero(chars == _NEWLINE), quote)
    first = np.flatnonzero(np.diff(line, prepend=-1))
    rank = np.arange(len(quote)) - np.repeat(first, np.diff(np.append(first, len(quote))))
    opens = np.flatnonzero((rank[:-1] % 2 == 0) & (line[1:] == line[:-1]))
    step = np.zeros(len(chars) + 1, np.int8)
    step[quote[opens] + 1] = 1
    step[quote[opens + 1] + 1] = -1
    quoted = np.cumsum(step[:-1], dtype=np.int8) > 0
    hidden |= quoted
    masked &= ~quoted
    masked[quote[opens]] = True


@lru_cache(maxsize=2)
def _kinds(size: int) -> NDArray[np.uint8]:
    """What each code point is to the regular expressions above: uint8 flags of shape (size,)."""
    kinds = np.zeros(size, np.uint8)
    for code, char in enumerate(map(chr, range(size))):
        kinds[code] = char.isalnum() * _WORD | char.isdecimal() * _DIGIT | char.isspace() * _SPACE
    kinds[[ord("_"), _HASH]] |= _WORD
    kinds[ord('"')], kinds[ord("`")] = _DOUBLE, _BACK
    for char in ".!?:\n。！？：":
        if ord(char) < size:
            always = char not in ".!?:"
            kinds[ord(char)] |= _STOP | always * _ALWAYS | (char in _COLONS) * _COLON
    return kinds


@lru_cache(maxsize=1)
def _ascii_tables() -> tuple[bytes, bytes]:
    """For `bytes.translate`: kinds, and what is shown."""
    kinds = _kinds(256)
    lower = np.frombuffer(bytes(range(256)).lower(), np.uint8)
    shown = np.where((kinds & _DIGIT) != 0, _HASH, np.where((kinds & _WORD) != 0, lower, _BLANK))
    return kinds.tobytes(), shown.astype(np.uint8).tobytes()


def looks_like_code(text: str) -> bool:
    """A cheap test for source code in the first part of a prompt."""
    text = text[:2_000]
    if "```" in text or "#include" in text:
        return True
    # Searching for a fixed string is much faster than for an expression, and mostly enough.
    for fixed, expression in _CODE:
        if fixed in text and expression.search(text):
            return True
    return "\n" in text and bool(_LINE_ENDS.search(text))
