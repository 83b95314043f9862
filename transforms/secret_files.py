"""Secrets of this user's own, made on first use, by whichever of several processes is first."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def made_once(path: Path, content: bytes) -> bool:
    """Puts a secret into a file that only this user may read; nobody sees half of it.

    Args:
      path: of the file; its folder is made.
      content: that it gets where it is not there.

    Returns:
      Whether it got this content: False where another process was faster.

    Raises:
      OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        _write_new(partial, content)
        try:
            os.link(partial, path)
        except FileExistsError:
            raise
        except OSError:  # of a file system without links: the one that may be seen half
            _write_new(path, content)
        return True
    except FileExistsError:
        return False
    finally:
        partial.unlink(missing_ok=True)


def _write_new(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as out:
        out.write(content)
