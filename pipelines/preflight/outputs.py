"""What a command writes: tables, events, files, bundles, and what is passing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.preflight.inputs import FILE_KINDS
from schemas.errors import DistilwatchError

if TYPE_CHECKING:
    from pipelines.config import Config


def check_output(uri: str, inputs: Sequence[str] = (), patient: bool = False) -> None:
    """Raises DistilwatchError when rows could not be written to a URI.

    Args:
      uri: duckdb:///file, parquet:///folder, bigquery://project/dataset, or
        kafka://host:port/topic.
      inputs: URIs; where one has no end, a database may be in use by others just now.
      patient: whether it may be so in any case.
    """
    from pipelines.parts import is_endless
    from transforms.sinks import check_sink

    try:
        endless = is_endless(inputs)
    except DistilwatchError:
        endless = True  # that is told of the input; the lock is looked at next time
    check_sink(uri, wait=endless or patient)


def check_event_target(uri: str, option: str) -> None:
    """Raises DistilwatchError when events could not be written to a file or topic."""
    if uri.startswith("kafka://"):
        from transforms.ingest.kafka import check_broker

        check_broker(uri)
        return
    if not uri.endswith(FILE_KINDS):
        raise DistilwatchError(
            "the kind of file is not known from its name",
            f"{option} {uri}",
            f"end it with {' or '.join(FILE_KINDS)}, or give kafka://host:port/topic",
        )
    path = Path(uri)
    if not path.absolute().parent.exists():
        raise DistilwatchError(
            "the folder does not exist", f"{option} {uri}", f"make {path.parent}"
        )
    check_file_target(path, option)


def check_apart(targets: Mapping[str, str]) -> None:
    """Raises DistilwatchError when two options name one file, of which the last would stay.

    Args:
      targets: paths or addresses by option.
    """
    named: dict[str, str] = {}
    for option, target in targets.items():
        place = target if "://" in target else str(Path(target).absolute())
        if place in named:
            raise DistilwatchError(
                "two options name one file", f"{named[place]}, {option} {target}", "name two"
            )
        named[place] = option


def check_file_target(path: Path, option: str) -> None:
    """Raises DistilwatchError when a file could not be written at a path."""
    if path.is_dir():
        raise DistilwatchError(
            "is a folder, not a file", f"{option} {path}", "add a file name to it"
        )
    check_writable(path, option)


def check_folder_target(path: Path, option: str) -> None:
    """Raises DistilwatchError when files could not be written to a folder."""
    if path.exists() and not path.is_dir():
        raise DistilwatchError(
            "is a file, not a folder", f"{option} {path}", "choose another place"
        )
    check_writable(path, option)


def check_bundle_target(folder: Path) -> None:
    """Raises DistilwatchError when no bundle could be written to a folder."""
    from transforms.scoring.bundle import check_target

    check_writable(folder, "--bundle")
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        check_target(folder)  # an empty folder would be removed by it


def check_writable(path: Path, option: str) -> None:
    """Raises DistilwatchError when a file or folder could not be made at a path."""
    parent = path if path.exists() else path.absolute().parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not path.exists() and not parent.is_dir():
        raise DistilwatchError(
            f"{parent} is a file, not a folder", f"{option} {path}", "choose another place"
        )
    if not os.access(parent, os.W_OK):
        raise DistilwatchError(
            f"{parent} may not be written", f"{option} {path}", "choose another place"
        )


def check_metrics_file(config: Config) -> None:
    """Raises DistilwatchError when a run could not write its metrics when all else is done."""
    if config.observe.metrics_file is None:
        return
    path = Path(config.observe.metrics_file)
    folder = path.absolute().parent
    if not folder.is_dir():
        raise DistilwatchError(
            "the folder does not exist", f"observe.metrics_file {path}", f"make {folder}"
        )
    check_file_target(path, "observe.metrics_file")


def check_scratch(config: Config) -> None:
    """Raises DistilwatchError when there is no folder for what is passing."""
    import tempfile

    try:
        folder = Path(config.run.tmp or tempfile.gettempdir())
    except FileNotFoundError:
        raise DistilwatchError(
            "no folder for temporary files can be written", "run.tmp", "set it to one that can"
        ) from None
    if not folder.is_dir():
        raise DistilwatchError("the folder does not exist", f"run.tmp {folder}", "make it")
    if not os.access(folder, os.W_OK):
        raise DistilwatchError("may not be written", f"run.tmp {folder}", "choose another folder")
