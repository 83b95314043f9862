"""This machine: Python, installed versions, clock, disk, memory, and files of keys."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from pipelines.doctor.finding import FAIL, OK, SKIP, WARN, Finding
from pipelines.extras import EXTRAS
from schemas.errors import how_to_install

_PART = "machine"
_LEAST_FREE, _LOW_FREE = 1 << 30, 5 << 30
_LEAST_MEMORY = 2 << 30
_UNSYNCHRONISED = 5  # TIME_ERROR of adjtimex(2)
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)(?:\s*;\s*([^\\]+))?")


def python() -> Finding:
    """Whether this Python is one that is supported."""
    said = f"Python {platform.python_version()} at {sys.executable}"
    if (3, 11) <= sys.version_info[:2] <= (3, 12):
        return Finding(_PART, "python", OK, said)
    return Finding(_PART, "python", FAIL, said, "install Python 3.11 or 3.12, and `make install`")


def locked() -> Finding:
    """Whether installed packages are those of the lock that lies beside the source."""
    lock = Path(__file__).resolve().parents[2] / "requirements.lock"
    if not lock.is_file():
        return Finding(_PART, "packages", SKIP, "no requirements.lock beside the installed code")
    other, missing, count = [], [], 0
    for name, version in _pins(lock.read_text(encoding="utf-8")):
        count += 1
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if found != version:
            other.append(f"{name} {found} instead of {version}")
    if missing:
        few = ", ".join(missing[:5])
        return Finding(_PART, "packages", FAIL, f"{len(missing)} missing: {few}", "`make install`")
    if other:
        return Finding(
            _PART, "packages", WARN, "; ".join(other[:5]) + ("; …" if other[5:] else ""),
            "`make install` brings back the versions that were tested together",
        )  # fmt: skip
    return Finding(_PART, "packages", OK, f"{count} packages as in requirements.lock")


def _pins(text: str) -> Iterator[tuple[str, str]]:
    from packaging.markers import InvalidMarker, Marker

    for line in text.splitlines():
        match = _LOCKED.match(line)
        if not match:
            continue
        if match[3]:
            try:
                if not Marker(match[3].strip()).evaluate({"extra": ""}):
                    continue
            except InvalidMarker:
                continue
        yield match[1], match[2]


def extras() -> Iterator[Finding]:
    """Parts that are installed only where they are wanted."""
    from importlib.util import find_spec

    for name, extra in EXTRAS.items():
        try:
            there = find_spec(extra.modules[0]) is not None
        except ModuleNotFoundError:
            there = False
        if there:
            yield Finding(_PART, f"extra {name}", OK, f"installed, for {extra.use}")
        else:
            said = f"not installed; is for {extra.use}"
            mend = f"{how_to_install(name)}, if you want it"
            yield Finding(_PART, f"extra {name}", SKIP, said, mend)


def clock(there: tuple[str, float] | None = None, max_future_ms: int = 600_000) -> Finding:
    """Whether the clock can be right: events ahead of it are refused.

    Args:
      there: name of a server, and its time in seconds since 1970 just now.
      max_future_ms: how far ahead an event may be.
    """
    now = time.time()
    built = max(p.stat().st_mtime for p in Path(__file__).parent.glob("*.py"))
    mend = "set the clock, and let NTP keep it: timedatectl set-ntp true"
    said = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now < built - 86_400:
        return Finding(_PART, "clock", FAIL, f"{said} is before this program was installed", mend)
    if there is not None:
        apart = there[1] - now
        said += f", {abs(apart):.0f} s {'behind' if apart > 0 else 'ahead of'} {there[0]}"
        if abs(apart) * 1000 > max_future_ms:
            more = f"{said}; events more than {max_future_ms // 1000} s ahead are refused"
            return Finding(_PART, "clock", FAIL, more, mend)
    if _synchronised() is False:
        return Finding(_PART, "clock", WARN, f"{said}; nothing keeps it right", mend)
    return Finding(_PART, "clock", OK, said)


def _synchronised() -> bool | None:
    """What the kernel says of its clock; None where it cannot be asked."""
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(512))
    except (AttributeError, OSError):
        return None
    return None if state < 0 else state != _UNSYNCHRONISED


def disk(name: str, folder: Path) -> Finding:
    """Whether a folder's disk has room."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    said = f"{free / (1 << 30):,.1f} GiB free at {folder}"
    if free < _LEAST_FREE:
        return Finding(_PART, name, FAIL, said, "make room, or choose another place")
    status = WARN if free < _LOW_FREE else OK
    return Finding(_PART, name, status, said, "make room before long" if status == WARN else "")


def scratch(folder: str | None) -> Finding:
    """Whether what is passing has room."""
    return disk("disk for temporary files", Path(folder or tempfile.gettempdir()))


def memory() -> Finding:
    """Whether there is memory for the embedded runner."""
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        with open("/proc/meminfo", encoding="ascii") as file:
            found = re.search(r"MemAvailable:\s+(\d+)", file.read())
            free = int(found[1]) << 10 if found else free
    except (OSError, ValueError):
        return Finding(_PART, "memory", SKIP, "the system does not say")
    said = f"{free / (1 << 30):,.1f} GiB available, {os.cpu_count()} processors"
    if free < _LEAST_MEMORY:
        return Finding(_PART, "memory", WARN, said, "close something, or use run.parallelism: 1")
    return Finding(_PART, "memory", OK, said)


def home_folder(home: Path) -> Iterator[Finding]:
    """Whether this user's keys are there, and nobody else's to read."""
    if not home.is_dir():
        said = f"{home} is not there yet; it is made with its keys on first use"
        yield Finding("keys", "home", OK, said)
        return
    if not os.access(home, os.W_OK):
        mend = "make it writable, or set DISTILWATCH_HOME to another folder"
        yield Finding("keys", "home", FAIL, f"{home} may not be written", mend)
    for path in sorted(p for p in home.glob("*") if p.is_file() and _is_secret(p)):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            yield Finding(
                "keys", path.name, WARN, f"others may read it (mode {mode:o})", f"chmod 600 {path}"
            )
        else:
            yield Finding("keys", path.name, OK, f"in {home}, for this user only")


def _is_secret(path: Path) -> bool:
    return path.suffix in (".key", ".pem") or "key" in path.name
