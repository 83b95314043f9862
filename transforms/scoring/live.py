"""A bundle that may change while a stream runs, as workers see it.

The launcher decides (see `pipelines.bundles`) and names the bundle that counts in a small file.
Workers look at that file now and then, check the signature themselves, load the new bundle in a
thread while the old one goes on scoring, and then change over: nothing waits. A bundle that does
not load, or fails at scoring, is left at once for the one before, and a mark beside the file tells
the launcher.

Sketches hold cells and coordinates of the bundle's embedding space. So only a bundle with the very
same space can take over; `distilwatch train --space-of` makes such bundles.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from schemas.errors import DistilwatchError
from transforms.embedding.space import space_name
from transforms.scoring.bundle import Bundle, read_verified, signed_manifest
from transforms.scoring.handler import VerifiedBundle
from transforms.scoring.recent import Recent

_log = logging.getLogger(__name__)
_LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Active:
    """The bundle that counts, as the launcher names it in a file.

    Attributes:
      folder: where it is.
      manifest_sha256: of the manifest that was verified and tried.
      version: of the bundle.
    """

    folder: str
    manifest_sha256: str
    version: str

    def write(self, path: Path) -> None:
        """Names it, whole or not at all."""
        data = {"folder": self.folder, "manifest_sha256": self.manifest_sha256,
                "version": self.version}  # fmt: skip
        _write_whole(path, json.dumps(data))

    @classmethod
    def read(cls, path: Path) -> Active | None:
        """What the file names; None without a file, or one that cannot be understood."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def failed_mark(self, path: Path) -> Path:
        """The file that tells that workers cannot use it."""
        return path.with_name(f"failed-{self.manifest_sha256[:16]}")


def load_signed(active: Active, trusted: list[Ed25519PublicKey], space: str) -> Bundle:
    """Loads a bundle after everything about it was checked.

    Args:
      active: which bundle.
      trusted: keys, one of which has signed it.
      space: name of the space that it must have.

    Raises:
      DistilwatchError: it cannot be used.
    """
    folder = Path(active.folder)
    manifest = signed_manifest(folder, trusted)
    if hashlib.sha256(manifest).hexdigest() != active.manifest_sha256:
        raise DistilwatchError(
            "the bundle was replaced after it was tried", active.folder,
            "give every bundle a folder of its own",
        )  # fmt: skip
    bundle = read_verified(folder, manifest)
    if space_name(bundle.space) != space:
        raise DistilwatchError(
            "its embedding space is another than that of the running stream", active.folder,
            "train it with --space-of and the present bundle, or start the stream anew with it",
        )  # fmt: skip
    return bundle


class _Follower:
    """What one worker process knows of one file; steps of all kinds share it."""

    def __init__(self, path: Path, trusted: tuple[bytes, ...], space: str) -> None:
        self._path = path
        self._trusted = [Ed25519PublicKey.from_public_bytes(key) for key in trusted]
        self._space = space
        self._lock = threading.Lock()
        self._looked = 0.0
        self._stamp: tuple[int, int] | None = None
        self._loading: threading.Thread | None = None
        self._bundle: Bundle | None = None
        self._before: Bundle | None = None
        self._active: Active | None = None

    def now(self, held: Bundle) -> Bundle:
        """The bundle to score with; `held` before there is another."""
        if time.monotonic() - self._looked >= _LOOK_EVERY_S:
            with self._lock:
                self._look()
        return self._bundle or held

    def at_start(self) -> Bundle | None:
        """The bundle that is named now, loaded at once; None where the first one counts."""
        with self._lock:
            self._look()
            loading = self._loading
        if loading is not None:
            loading.join()
        return self._bundle

    def _look(self) -> None:
        self._looked = time.monotonic()
        try:
            stat = self._path.stat()
        except OSError:
            return
        stamp = (stat.st_mtime_ns, stat.st_ino)
        if stamp == self._stamp or (self._loading is not None and self._loading.is_alive()):
            return
        active = Active.read(self._path)
        if active is None:
            return
        self._stamp = stamp
        if active == self._active:
            return
        self._loading = threading.Thread(target=self._load, args=(active,), daemon=True)
        self._loading.start()

    def _load(self, active: Active) -> None:
        try:
            bundle = load_signed(active, self._trusted, self._space)
        except Exception as error:
            _log.warning("bundle %s cannot be loaded here: %s", active.version, error)
            note_failure(active, self._path, error)
            return
        with self._lock:
            self._before, self._bundle, self._active = self._bundle, bundle, active

    def failed(self, bundle: Bundle, error: Exception, first: Bundle) -> Bundle | None:
        """Leaves a bundle that cannot score; returns the one to go on with, None without."""
        with self._lock:
            if bundle is self._bundle and self._active is not None:
                note_failure(self._active, self._path, error)
                self._bundle, self._active = self._before, None
            other = self._bundle or first
        return other if other is not bundle else None


def note_failure(active: Active, path: Path, error: Exception) -> None:
    """Leaves a mark beside the file for the launcher: why workers cannot use a bundle."""
    # The name of the error's class only: its text may quote what it was scoring.
    text = str(error) if isinstance(error, DistilwatchError) else type(error).__name__
    try:
        _write_whole(active.failed_mark(path), text)
    except OSError as problem:
        _log.warning("the failure of a bundle cannot be noted: %s", os.strerror(problem.errno or 0))


def _write_whole(path: Path, text: str) -> None:
    """Writes a file that others look for: it is there whole, or as it was."""
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


_followers: dict[str, _Follower] = {}
_followers_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class LiveBundle(VerifiedBundle):
    """The bundle that a stream starts with, and where to look for its successors.

    Attributes:
      folder, manifest_sha256: of the first one.
      active: path of the file that names the one that counts.
      trusted: raw Ed25519 public keys; successors must be signed by one of them.
      space: digest of the space that all must have.
      recent: folder where recent items are kept, for trials.
    """

    active: str = ""
    trusted: tuple[bytes, ...] = ()
    space: str = ""
    recent: str = ""
    items: int = 400

    def _follower(self) -> _Follower:
        with _followers_lock:
            if self.active not in _followers:
                _followers[self.active] = _Follower(Path(self.active), self.trusted, self.space)
            return _followers[self.active]

    def load(self) -> Bundle:
        """The bundle that counts now."""
        # Not super(): a dataclass with slots is a class of its own.
        return self._follower().at_start() or VerifiedBundle.load(self)

    def now(self, held: Bundle) -> Bundle:
        """The bundle that counts now; `held` until another is loaded."""
        return self._follower().now(held)

    def failed(self, bundle: Bundle, error: Exception) -> Bundle | None:
        """What to go on with when a bundle cannot score."""
        return self._follower().failed(bundle, error, VerifiedBundle.load(self))

    def keep(self, level: str, items: Sequence[Any]) -> None:
        """Keeps items for trials of later bundles."""
        Recent.of(self.recent, level, self.items).add(items)
