"""What decides how a run behaves, by version: for reports of mistakes and for `--version`."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

# Those whose versions change results, or what a running job can be updated to.
_LIBRARIES = ("apache-beam", "numpy", "scikit-learn", "pyod", "duckdb", "pyarrow")


def versions() -> dict[str, str]:
    """Versions by name, our own first; reads metadata, imports no library."""
    from schemas.events import EVENT_VERSION
    from schemas.versions import BUNDLE_FORMAT, LAYOUT_VERSION

    return {
        "distilwatch": _installed("distilwatch", "(not installed; run from its source)"),
        "Python": f"{platform.python_version()} ({platform.system()} {platform.machine()})",
        **{name: _installed(name, "not installed") for name in _LIBRARIES},
        "event contract": str(EVENT_VERSION),
        "bundle format": str(BUNDLE_FORMAT),
        "sketch layout": str(LAYOUT_VERSION),
    }


def _installed(name: str, otherwise: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return otherwise
