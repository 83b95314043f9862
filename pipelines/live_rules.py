"""Policies and allowlist that are read anew when their files have changed.

What changes while `detect`, `alerts send --watch` or `triage` runs counts within seconds, with no
restart. Files are checked as at the start; as long as they cannot be used, what was in force before
stays so, and everybody who looks is told why. Channels, with their secrets, are opened once: a
changed file of channels counts after a restart.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from threading import Lock

from pipelines.settings import AlertsConfig
from schemas.errors import DistilwatchError
from transforms.alerts.allowlist import Allowlist
from transforms.alerts.paging import read_policies
from transforms.alerts.part import read_part
from transforms.alerts.rules import Rules

_EVERY_S = 2.0
Mark = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class InForce:
    """Which policies and allowlist count, and why no newer ones do.

    Attributes:
      rules: that count.
      version: digest of policies and allowlist, 12 hex digits.
      since_ms: when they were read, milliseconds UTC.
      refused: what is wrong with newer files; None where there are none, or they count.
      channels_changed: whether the file of channels is another than at the start.
    """

    rules: Rules
    version: str
    since_ms: int
    refused: DistilwatchError | None = None
    channels_changed: bool = False


class LiveRules:
    """See the module. Safe to use from several threads."""

    def __init__(
        self,
        settings: AlertsConfig,
        rules: Rules,
        tell: Callable[[str], None] = lambda text: None,
        every_s: float = _EVERY_S,
    ) -> None:
        """Args:
        settings: that name the files.
        rules: read from them just now.
        tell: takes a line when other files count, or cannot be used.
        every_s: how often to look at most, seconds.
        """
        self._policies, self._allow, self._channels = (
            None if name is None else Path(name).expanduser()
            for name in (settings.policies, settings.allow, settings.channels)
        )
        self._tell = tell
        self._every_s = every_s
        self._lock = Lock()
        self._looked = time.monotonic()
        # What changed between reading the rules and now is found at the first look.
        self._mark: Mark | None = None
        _, self._channels_mark = self._marks()
        self._now = InForce(rules, version_of(rules), int(time.time() * 1000))

    def look(self) -> InForce:
        """What counts now, after looking whether files have changed."""
        with self._lock:
            if time.monotonic() - self._looked >= self._every_s:
                self._looked = time.monotonic()
                mark, channels_mark = self._marks()
                if channels_mark != self._channels_mark:
                    self._now = replace(self._now, channels_changed=True)
                if mark != self._mark:
                    self._mark = mark  # before reading: what changes meanwhile is read once more
                    self._read()
            return self._now

    def _read(self) -> None:
        try:
            policies = read_policies(self._policies)
            allow = read_part(self._allow, Allowlist) if self._allow else Allowlist()
        except DistilwatchError as wrong:
            self._now = replace(self._now, refused=wrong)
            self._tell(
                f"the changed policies or allowlist cannot be used: {wrong.what} ({wrong.where}); "
                f"version {self._now.version} stays in force until that is mended: {wrong.mend}"
            )
            return
        rules = replace(self._now.rules, policies=policies, allowlist=allow)
        version = version_of(rules)
        if version == self._now.version:  # saved, but the same
            self._now = replace(self._now, refused=None)
            return
        self._now = replace(
            self._now, rules=rules, version=version, since_ms=int(time.time() * 1000), refused=None
        )
        self._tell(f"policies and allowlist were read anew; version {version} is in force")

    def _marks(self) -> tuple[Mark, Mark]:
        """Of policies with the allowlist, and of channels; change with the files."""
        found = sorted(self._policies.glob("*.y*ml")) if self._policies else []
        return (
            _mark([*([self._policies] if self._policies else []), *found, self._allow]),
            _mark([self._channels]),
        )


def version_of(rules: Rules) -> str:
    """Digest of policies and allowlist, 12 hex digits."""
    parts = sorted(f"{policy.name} {policy.version}" for policy in rules.policies.policies)
    text = "\n".join([*parts, rules.allowlist.model_dump_json()])
    return blake2b(text.encode(), digest_size=6).hexdigest()


def _mark(paths: list[Path | None]) -> Mark:
    marks = []
    for path in paths:
        if path is not None:
            size = changed = inode = -1  # it may be gone
            with suppress(OSError):
                found = path.stat()
                size, changed, inode = found.st_size, found.st_mtime_ns, found.st_ino
            marks.append((str(path), size, changed, inode))
    return tuple(marks)
