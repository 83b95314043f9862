"""One JSON object a line of standard error, for those who gather logs."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

_LEVELS = {logging.WARNING: "warning", logging.ERROR: "error", logging.CRITICAL: "critical"}


def line(level: str, message: str, **more: Any) -> str:
    """A line; times are UTC, and nothing else than what is said is in it."""
    now = time.time()
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}Z"
    return json.dumps({"time": at, "level": level, "message": message, **more}, default=str)


class JsonFormatter(logging.Formatter):
    """Makes lines of what libraries log."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record; of an exception only its kind and message."""
        more: dict[str, Any] = {"logger": record.name}
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            more["error"] = f"{type(error).__name__}: {error}"
        level = _LEVELS.get(record.levelno, "info")
        return line(level, record.getMessage(), **more)


def log_as_json() -> None:
    """Libraries' messages become lines of JSON from now on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
