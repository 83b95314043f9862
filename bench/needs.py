"""What the jobs of a comparison need beyond the product, and how to install it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from importlib.util import find_spec

from infra.local.flink_cluster import flink_libs
from infra.local.services import ServiceError, kafka_libs, prism_location

_PACKAGES = {"bytewax": ["bytewax"], "quix": ["quixstreams"]}
_SERVICES: dict[str, list[Callable[[], object]]] = {
    "quix": [kafka_libs],
    "detect-kafka": [kafka_libs],
    "detect-prism": [kafka_libs, prism_location],
    "detect-flink-1": [flink_libs],
    "detect-flink-2": [flink_libs],
}
_INSTALL = "`make bench` installs it into .venv-bench (bench/requirements.lock) and runs there"


def missing_for(job: str) -> list[str]:
    """What a job lacks on this machine, each with the way to mend it."""
    lacks = missing_packages(_PACKAGES.get(job, ()))
    for find in _SERVICES.get(job, ()):
        try:
            find()
        except ServiceError as error:
            lacks.append(str(error))
    return lacks


def missing_packages(names: Iterable[str]) -> list[str]:
    """Packages that cannot be imported here, each with the way to mend it."""
    return [
        f"the package {name} is not installed here: {_INSTALL}"
        for name in names
        if find_spec(name) is None
    ]


def use_local_services() -> None:
    """Lets `detect` find what `make services` installed, wherever the bench is run from."""
    if not missing_for("detect-prism"):
        os.environ.setdefault("DISTILWATCH_PRISM", str(prism_location()))
