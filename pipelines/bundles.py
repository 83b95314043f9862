"""Changes the bundle of a running stream: verified, tried, changed over, taken back when it fails.

The launcher of a stream whose `--bundle` is a folder with a pointer (`transforms.scoring.store`)
looks at the pointer every `bundles.watch_every`. A bundle that it has not seen is verified as at a
start, must have the stream's embedding space, and is tried on the items that were scored last. If
it alerts within bounds it is named in the spool's `bundles/active.json`, where workers find it.
Otherwise nothing changes. What happened is logged, and counted in `run_health`.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.errors import DistilwatchError
from transforms.clusters.transforms import CLUSTER_LEVEL, cluster_rows
from transforms.embedding.space import space_name
from transforms.scoring.bundle import Bundle, read_verified, signed_manifest
from transforms.scoring.fit import ACCOUNT_SESSION, PAYMENT_SESSION, PROFILE
from transforms.scoring.handler import RowsOf, VerifiedBundle
from transforms.scoring.levels import rows_of_profiles, rows_of_sketches
from transforms.scoring.live import Active, LiveBundle
from transforms.scoring.recent import recent_items
from transforms.scoring.signing import trusted_keys
from transforms.scoring.store import bundle_folder
from transforms.scoring.trial import TrialBounds, compare
from transforms.sinks.staging import stage_rows
from transforms.spans import span

_log = logging.getLogger(__name__)
ROWS_OF: Mapping[str, RowsOf] = {
    ACCOUNT_SESSION: rows_of_sketches,
    PAYMENT_SESSION: rows_of_sketches,
    PROFILE: rows_of_profiles,
    CLUSTER_LEVEL: cluster_rows,
}


class _Refused(Exception):
    def __init__(self, reason: str, words: str) -> None:
        super().__init__(words)
        self.reason = reason


@dataclass
class BundleKeeper:
    """Looks after the bundle of one stream.

    Attributes:
      store: folder with the pointer.
      folder: of the spool, for the files between launcher and workers.
      first: the bundle that the stream starts with.
      bounds: of a trial.
      items: that a trial scores at each level, at most.
      warn: says what happened.
      note_counts: takes the counts so far, by metric.
    """

    store: Path
    folder: Path
    first: VerifiedBundle
    bounds: TrialBounds
    items: int
    warn: Callable[[str], None]
    note_counts: Callable[[Mapping[str, int]], None]
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        bundle = self.first.load()
        self._keys = trusted_keys()
        self._space = space_name(bundle.space)
        self._present = bundle
        self._active = Active(self.first.folder, self.first.manifest_sha256, bundle.version)
        self._before: tuple[Active, Bundle] | None = None
        self._refused: set[tuple[str, int]] = set()
        self._waiting = ""
        self._untried = ""
        self._active.write(self.path)

    @property
    def path(self) -> Path:
        """The file that names the bundle that counts."""
        return self.folder / "active.json"

    @property
    def version(self) -> str:
        """Of the bundle that counts."""
        return self._active.version

    def live(self) -> LiveBundle:
        """The bundle for the pipeline's steps."""
        keys = tuple(key.public_bytes_raw() for key in self._keys)
        return LiveBundle(
            self.first.folder, self.first.manifest_sha256, str(self.path), keys, self._space,
            str(self.folder / "recent"), self.items,
        )  # fmt: skip

    def look(self) -> None:
        """Looks at the pointer and at what workers say, and does what follows."""
        self._take_back()
        try:
            folder = bundle_folder(self.store)
            stamp = self._stamp(folder)
        except (DistilwatchError, OSError) as problem:
            self._say_once(f"the present bundle goes on: {problem}")
            return
        if stamp in self._refused:
            return
        if stamp[0] == self._active.manifest_sha256:
            self._waiting = ""
            return
        began = time.monotonic()
        try:
            with span("try a bundle", instead_of=self.version):
                new, active = self._verified(folder)
                if not self._tried(new):
                    return
        except _Refused as refused:
            self._refused.add(stamp)
            self._count(f"bundle_refused_{refused.reason}", "bundle_refused")
            self.warn(f"bundle {folder.name} is refused, {self.version} goes on: {refused}")
            return
        self._before = (self._active, self._present)
        self._active, self._present = active, new
        self._waiting = ""
        active.failed_mark(self.path).unlink(missing_ok=True)
        active.write(self.path)
        self._count("bundle_swapped")
        self.warn(
            f"bundle {active.version} takes over from {self._before[0].version}, after "
            f"{time.monotonic() - began:.1f} s of checks{self._untried}"
        )

    def _stamp(self, folder: Path) -> tuple[str, int]:
        manifest = folder / "manifest.json"
        if not manifest.is_file():
            raise DistilwatchError("no bundle there yet", str(folder), "let it be copied whole")
        newest = max(path.stat().st_mtime_ns for path in folder.iterdir())
        return hashlib.sha256(manifest.read_bytes()).hexdigest(), newest

    def _verified(self, folder: Path) -> tuple[Bundle, Active]:
        try:
            manifest = signed_manifest(folder, self._keys)
        except DistilwatchError as problem:
            raise _Refused("signature", str(problem)) from problem
        try:
            bundle = read_verified(folder, manifest)
        except DistilwatchError as problem:
            raise _Refused("unfit", str(problem)) from problem
        except Exception as problem:
            raise _Refused("unreadable", f"it cannot be read ({type(problem).__name__})") from None
        if space_name(bundle.space) != self._space:
            raise _Refused(
                "space",
                "its embedding space is another than that of the running stream (train it with "
                "--space-of and the present bundle, or start the stream anew with it)",
            )
        digest = hashlib.sha256(manifest).hexdigest()
        return bundle, Active(str(folder), digest, bundle.version)

    def _tried(self, new: Bundle) -> bool:
        """Whether a trial was possible, and went well.

        Raises:
          _Refused: it went badly.
        """
        recent = self.folder / "recent"
        items = {level: recent_items(recent, level, self.items) for level in ROWS_OF}
        try:
            compared = compare(self._present, new, items, ROWS_OF, self.bounds)
        except Exception as problem:
            raise _Refused("unreadable", f"it cannot score ({type(problem).__name__})") from problem
        if not compared:
            self._say_once(
                f"bundle {new.version} waits for {self.bounds.min_items} items to be tried on"
            )
            return False
        for one in compared:
            _log.info("trial of bundle %s: %s", new.version, one)
        untried = sorted(set(items) - {one.level for one in compared})
        few = f"fewer than {self.bounds.min_items} of each"
        self._untried = f"; not tried on {', '.join(untried)}: {few}" if untried else ""
        outside = [str(one) for one in compared if not one.inside]
        if outside:
            raise _Refused("alert_rate", "it alerts too much or too little: " + "; ".join(outside))
        return True

    def _take_back(self) -> None:
        mark = self._active.failed_mark(self.path)
        if self._before is None or not mark.exists():
            return
        why = mark.read_text(encoding="utf-8")
        failed = self._active
        self._active, self._present = self._before
        self._before = None
        self._active.write(self.path)
        self._refused.add(self._stamp(Path(failed.folder)))
        self._count("bundle_rolled_back")
        self.warn(f"bundle {failed.version} failed ({why}); {self._active.version} is back")

    def _count(self, *metrics: str) -> None:
        self.counts.update(metrics)
        self.note_counts(self.counts)

    def _say_once(self, text: str) -> None:
        if text != self._waiting:
            self._waiting = text
            self.warn(text)


@contextmanager
def watched(keeper: BundleKeeper | None, every_ms: int) -> Iterator[None]:
    """Lets a keeper look every so often, in a thread, as long as the block lasts."""
    if keeper is None:
        yield
        return
    stop = threading.Event()

    def go_on() -> None:
        while not stop.wait(every_ms / 1000):
            try:
                keeper.look()
            except Exception:  # whatever happens to a new bundle, the stream goes on
                _log.exception("the bundle's pointer cannot be looked at")

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


def last_good(first: VerifiedBundle, folder: Path) -> VerifiedBundle:
    """The bundle that a stream used when it ended, where that can still be used; else `first`."""
    active = Active.read(folder / "active.json")
    if active is None or active.manifest_sha256 == first.manifest_sha256:
        return first
    if active.failed_mark(folder / "active.json").exists():
        return first
    try:
        manifest = signed_manifest(Path(active.folder))
        if hashlib.sha256(manifest).hexdigest() == active.manifest_sha256:
            read_verified(Path(active.folder), manifest)
            return VerifiedBundle(active.folder, active.manifest_sha256)
    except DistilwatchError:
        pass
    return first


def staged_counts(staging: str, run_id: str) -> Callable[[Mapping[str, int]], None]:
    """Puts counts among the rows on their way to run_health."""

    def note(counts: Mapping[str, int]) -> None:
        rows: list[dict[str, Any]] = [
            {"run_id": run_id, "metric": metric, "value": n} for metric, n in counts.items()
        ]
        stage_rows("run_health", rows, staging)

    return note
