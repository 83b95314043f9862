"""The last items that were scored at each level, kept for trials of new bundles.

A worker keeps the newest few hundred in memory and writes them to a file of its own every few
seconds. They are sketches: hashes and counts, no text and no fingerprint.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np

from transforms.coverage.sketch import CoverageSketch, decode, encode

_log = logging.getLogger(__name__)
_WRITE_EVERY_S = 2.0
_OLD_S = 24 * 3600.0

_keepers: dict[tuple[str, str], Recent] = {}
_keepers_lock = threading.Lock()


class Recent:
    """Items of one level in one worker process."""

    def __init__(self, folder: Path, level: str, most: int) -> None:
        self._path = folder / f"{level}-{os.uname().nodename}-{os.getpid()}.msgpack"
        self._most = most
        self._items: OrderedDict[str, list[Any]] = OrderedDict()
        self._written = -_WRITE_EVERY_S
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    @classmethod
    def of(cls, folder: str, level: str, most: int) -> Recent:
        """The one of this process."""
        with _keepers_lock:
            key = (folder, level)
            if key not in _keepers:
                _keepers[key] = cls(Path(folder), level, most)
            return _keepers[key]

    def add(self, items: Sequence[Any]) -> None:
        """Keeps items, of each name the newest."""
        with self._lock:
            for item in items[-self._most :]:
                name = _name(item)
                self._items.pop(name, None)
                # Packed: a sketch may be a view of thousands.
                self._items[name] = _packed(item)
            while len(self._items) > self._most:
                self._items.popitem(last=False)
            if self._timer is None:
                # Later, and not here: what comes in the meantime, or last, is written, too.
                left = self._written + _WRITE_EVERY_S - time.monotonic()
                self._timer = threading.Timer(max(0.0, left), self._flush)
                self._timer.daemon = True
                self._timer.start()

    def _flush(self) -> None:
        with self._lock:
            self._timer = None
            self._written = time.monotonic()
            items = list(self._items.values())
        self._write(items)

    def _write(self, items: Sequence[list[Any]]) -> None:
        data = msgspec.msgpack.encode(items)
        partial = self._path.with_suffix(".partial")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            partial.replace(self._path)
        except OSError as error:  # a trial has fewer items then; scoring must not suffer
            _log.warning("recent items cannot be kept: %s", error.strerror)


def _name(item: Any) -> str:
    if hasattr(item, "members"):
        return f"{item.window_start_ms}/{item.cluster_id}"
    own = getattr(item, "account", None) or f"{item.kind}/{item.key}"
    return f"{own}/{item.sketch.first_ms}"


def _packed(item: Any) -> list[Any]:
    if hasattr(item, "members"):
        row = item.row
        accounts = [member.account for member in item.members]
        return ["", b"", list(map(float, row.features)), list(map(float, row.covariates)), accounts]
    return [getattr(item, "account", ""), encode(item.sketch), [], [], []]


def _unpacked(account: str, data: bytes, features: Any, covariates: Any, members: Any) -> Any:
    if data:
        sketch: CoverageSketch = decode(data)
        return SimpleNamespace(account=account, sketch=sketch)
    row = SimpleNamespace(features=np.array(features), covariates=np.array(covariates))
    return SimpleNamespace(members=[SimpleNamespace(account=a) for a in members], row=row)


def recent_items(folder: Path, level: str, most: int, now_s: float | None = None) -> list[Any]:
    """The newest items of all workers, at most so many; they have what scoring looks at."""
    now = time.time() if now_s is None else now_s
    found: list[Any] = []
    files = sorted(folder.glob(f"{level}-*.msgpack"), key=lambda path: path.stat().st_mtime)
    for path in files:
        if now - path.stat().st_mtime <= _OLD_S:
            found += [_unpacked(*packed) for packed in msgspec.msgpack.decode(path.read_bytes())]
    return found[-most:]
