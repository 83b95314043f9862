"""The watch list: received indicators as the pipeline looks for them.

It is a small file, replaced as a whole, which every worker looks at now and then: a slowly changing
side input that works the same on every runner, for input with an end and without.
"""

from __future__ import annotations

import base64
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.errors import DistilwatchError
from transforms.coverage.layout import HASH_BITS, Items
from transforms.file_lock import alone_with
from transforms.sharing.indicators import Kind
from transforms.sharing.payloads import Behaviour, Coverage, decode_behaviour, decode_coverage

LIVE, QUARANTINED = "live", "quarantined"
_NO_ITEM = (1 << 64) - 1
_FORMAT = "distilwatch-watch-list-1"
_LOG = logging.getLogger(__name__)


class Watched(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing to look for.

    Attributes:
      indicator_id: the same at every lab.
      kind: network, client, prefix_scaffold, suffix_scaffold, opening_sentence, closing_sentence,
        or payment from private matching; coverage and behaviour are compared.
      value: 14 hex digits, as `CoverageSketch.items` has it; "" of what is compared.
      source: lab that says so; trust goes with it.
      confidence: 0 to 1, of the lab that made it.
      valid_from_ms, valid_until_ms: milliseconds UTC; until None it holds for ever.
      state: live, or quarantined: seen, and counted nowhere.
      payload: of what is compared, in base64; see `transforms.sharing.payloads`.
      failed: a dry run has held it back, whatever its lab is trusted with.
    """

    indicator_id: str
    kind: str
    value: str
    source: str
    confidence: float
    valid_from_ms: int
    valid_until_ms: int | None = None
    state: str = QUARANTINED
    payload: str = ""
    failed: bool = False

    @property
    def item(self) -> int:
        """As `CoverageSketch.item_key` has it; of what is compared a number that no thing has."""
        if self.compared:
            return _NO_ITEM
        return int(Items[self.kind.upper()]) << int(HASH_BITS) | int(self.value, 16)

    @property
    def compared(self) -> bool:
        """Whether it is compared, instead of equal or not."""
        return self.kind in (Kind.BEHAVIOUR, Kind.COVERAGE)

    def decoded(self) -> Behaviour | Coverage:
        """What is compared.

        Raises:
          DistilwatchError: when it cannot be read.
        """
        try:
            data = base64.b64decode(self.payload, validate=True)
        except ValueError:  # binascii's own, and that of letters beyond ASCII
            data = b""
        return decode_behaviour(data) if self.kind == Kind.BEHAVIOUR else decode_coverage(data)


class _Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    watched: list[Watched]


@dataclass(frozen=True, slots=True, eq=False)
class WatchList:
    """Attributes:
    watched: by indicator id.
    items: uint64 of shape (len(watched),), what each looks for.
    compares: whether any of it is compared.
    """

    watched: tuple[Watched, ...] = ()
    items: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    compares: bool = False

    def __len__(self) -> int:
        return len(self.watched)

    def with_states(self, states: dict[str, str]) -> WatchList:
        """The list with other states, by indicator id."""
        return watch_list(
            msgspec.structs.replace(one, state=states.get(one.indicator_id, one.state))
            for one in self.watched
        )


def watch_list(watched: Iterable[Watched]) -> WatchList:
    """A list of indicators, of which each id counts once, the last one.

    Raises:
      DistilwatchError: when one cannot be looked for.
    """
    newest = {one.indicator_id: one for one in watched}
    ordered = tuple(newest[name] for name in sorted(newest))
    for one in ordered:
        if problem := _problem(one):
            raise DistilwatchError(
                problem, f"indicator {one.indicator_id[:60]}", "take it out of the watch list"
            )
    items = np.array([one.item for one in ordered], np.uint64)
    return WatchList(ordered, items, any(one.compared for one in ordered))


def _problem(one: Watched) -> str:
    if one.compared:
        if one.value:
            return "what is compared has no value"
        try:
            one.decoded()
        except DistilwatchError as error:
            return error.what
    elif one.payload:
        return f"things of kind {one.kind[:40]!r} have no payload"
    elif one.kind.upper() not in Items.__members__:
        return f"things of kind {one.kind[:40]!r} are not looked for"
    elif len(one.value) != 14 or any(digit not in "0123456789abcdef" for digit in one.value):
        return "its value is not 14 hex digits"
    if not (math.isfinite(one.confidence) and 0 <= one.confidence <= 1):
        return "its confidence is not from 0 to 1"
    if one.state not in (LIVE, QUARANTINED):
        return f"its state {one.state[:40]!r} is neither {LIVE} nor {QUARANTINED}"
    return ""


def write_watch_list(path: Path, watched: Iterable[Watched]) -> int:
    """Replaces a watch list; returns how many indicators it has.

    Raises:
      DistilwatchError: when one cannot be looked for, or the file cannot be written.
    """
    with _writing(path):
        return len(_replaced(path, watched))


def change_watch_list(path: Path, change: Callable[[WatchList], Iterable[Watched]]) -> WatchList:
    """Replaces a watch list by what `change` makes of it; returns what it is then.

    Of several that change it at once, by a timer and by hand, each sees what the others did. Where
    there is none it is empty.

    Raises:
      DistilwatchError: it is none, one of it cannot be looked for, or it cannot be written.
    """
    with _writing(path):
        return _replaced(path, change(read_watch_list(path) if path.exists() else WatchList()))


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        with alone_with(path):
            yield
    except OSError as error:
        raise DistilwatchError(
            f"the watch list cannot be written ({error.strerror})", str(path), "choose a folder"
        ) from error


def _replaced(path: Path, watched: Iterable[Watched]) -> WatchList:
    found = watch_list(watched)
    wire = _Wire(_FORMAT, list(found.watched))
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(wire), indent=1))
    partial.replace(path)
    return found


def read_watch_list(path: Path) -> WatchList:
    """Reads what `write_watch_list` wrote.

    Raises:
      DistilwatchError: when it cannot be read, or is none.
    """
    return _parse(path, _bytes(path))


def digest(path: Path) -> str:
    """SHA-256 of a watch list's file."""
    return sha256(_bytes(path)).hexdigest()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DistilwatchError(
            f"the watch list cannot be read ({error.strerror})",
            str(path),
            "make it with `distilwatch share watch`, or take watch.list out of the settings",
        ) from error


def _parse(path: Path, data: bytes) -> WatchList:
    try:
        wire = msgspec.json.decode(data, type=_Wire)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DistilwatchError(
            f"this is no watch list: {error}", str(path), "make it with `distilwatch share watch`"
        ) from None
    if wire.format != _FORMAT:
        raise DistilwatchError(
            f"a watch list of format {wire.format[:40]!r}", str(path), "make it anew"
        )
    return watch_list(wire.watched)


class WatchListFile:
    """A watch list that follows its file.

    A file that has become unreadable is no reason to stop or to forget: the last good list counts.
    """

    def __init__(
        self, path: str | None, refresh_ms: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Args:
        path: of the file; None for a list with nothing in it.
        refresh_ms: how often to look whether it has changed; 0 for never.
        clock: seconds.
        """
        self._path = Path(path) if path else None
        self._refresh_s = refresh_ms / 1000
        self._clock = clock
        self._known: WatchList | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._look_at = -math.inf

    def __reduce__(self) -> tuple[object, ...]:
        path = str(self._path) if self._path else None
        return WatchListFile, (path, int(self._refresh_s * 1000), self._clock)

    def current(self) -> WatchList:
        """The newest list.

        Raises:
          DistilwatchError: when there never was a good one.
        """
        if self._path is None:
            return WatchList()
        now = self._clock()
        if self._known is not None and (not self._refresh_s or now < self._look_at):
            return self._known
        self._look_at = now + self._refresh_s
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if self._known is None or stamp != self._stamp:
                self._known, self._stamp = read_watch_list(self._path), stamp
        except (OSError, DistilwatchError) as problem:
            if self._known is None:
                raise (
                    problem
                    if isinstance(problem, DistilwatchError)
                    else DistilwatchError(
                        "the watch list is missing", str(self._path), "make it, or take it out"
                    )
                ) from problem
            _LOG.warning("the watch list is kept as it was: %s", problem)
        return self._known


def kinds(watched: Sequence[Watched]) -> dict[str, int]:
    """How many there are of each kind."""
    found: dict[str, int] = {}
    for one in watched:
        found[one.kind] = found.get(one.kind, 0) + 1
    return dict(sorted(found.items()))
