"""A folder of bundles, one of which counts.

```
models/
  current        text: the name of the folder that counts (or a symbolic link to it)
  2026-06-01/    bundles
  2026-06-08/
```

The pointer changes in one step, so nobody ever sees half of it. A running stream looks at it; see
`pipelines.bundles`.
"""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path

from schemas.errors import DistilwatchError
from transforms.scoring.bundle import verify_bundle

POINTER = "current"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_store(folder: Path) -> bool:
    """Whether a folder has a pointer, and is no bundle itself."""
    return not (folder / "manifest.json").exists() and os.path.lexists(folder / POINTER)


def bundle_folder(folder: Path) -> Path:
    """The folder of the bundle that counts: the folder itself, or the one that its pointer names.

    Raises:
      DistilwatchError: when the pointer names none.
    """
    if not is_store(folder):
        return folder
    pointer = folder / POINTER
    if pointer.is_symlink():
        return folder / _checked(os.readlink(pointer).rstrip("/"), folder)
    try:
        name = pointer.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DistilwatchError(
            "the pointer cannot be read", str(pointer), "write the name of a bundle's folder to it"
        ) from error
    return folder / _checked(name, folder)


def _checked(name: str, folder: Path) -> str:
    # A bundle of this folder: a pointer that leads elsewhere is a mistake, or worse.
    if not _NAME.fullmatch(name) or not (folder / name).is_dir():
        raise DistilwatchError(
            f"the pointer names no folder of bundles here: {name[:80]!r}",
            str(folder / POINTER),
            "write the name of a bundle's folder to it, or use `distilwatch bundle use`",
        )
    return name


def bundles_in(folder: Path) -> list[Path]:
    """Folders of bundles in a store, by name."""
    return sorted(path.parent for path in folder.glob("*/manifest.json"))


def point_to(folder: Path, name: str) -> str:
    """Makes one bundle of a store the one that counts, after it was verified.

    Returns:
      Its version.

    Raises:
      DistilwatchError: it cannot be used; the pointer is as before then.
    """
    if not _NAME.fullmatch(name) or not (folder / name).is_dir():
        there = ", ".join(path.name for path in bundles_in(folder)) or "none"
        raise DistilwatchError(
            f"there is no bundle {name[:80]!r}", str(folder), f"bundles here: {there}"
        )
    manifest, _ = verify_bundle(folder / name)
    partial = folder / f".{POINTER}-{uuid.uuid4().hex}"
    try:
        partial.write_text(f"{name}\n", encoding="utf-8")
        os.replace(partial, folder / POINTER)
    except OSError as error:
        raise DistilwatchError(
            f"the pointer cannot be written ({error.strerror})", str(folder / POINTER),
            "ask for the permission to write there",
        ) from error  # fmt: skip
    return str(manifest["bundle_version"])
