"""Who runs a command: the name that stands beside what was decided, shared and forgotten."""

from __future__ import annotations

import getpass
import os


def user_here() -> str:
    """The user of this machine; by number where it has no name, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
