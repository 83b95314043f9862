"""Where simulated records go: files, written whole or not at all, or a Kafka topic."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Protocol, cast

from schemas.errors import DistilwatchError


class Target(Protocol):
    """Takes records in order."""

    def write(self, record: bytes, key: str, time_ms: int) -> None:
        """Takes one record.

        Args:
          record: an event as JSON, or what is left of it.
          key: that keeps an account's records in order.
          time_ms: of the event.
        """


@contextmanager
def open_target(uri: str) -> Iterator[Target]:
    """A target for a `.jsonl` or `.jsonl.gz` file, or kafka://host:port/topic.

    Raises:
      DistilwatchError: it cannot be written.
    """
    if uri.startswith("kafka://"):
        from transforms.sinks.kafka import RecordProducer

        with RecordProducer(uri) as producer:
            yield producer
        return
    with _whole_file(Path(uri)) as file:
        yield _Lines(file)


class _Lines:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, record: bytes, key: str, time_ms: int) -> None:
        self._file.write(record + b"\n")


@contextmanager
def _whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name only when it is complete."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(partial.open("wb"))
            if path.suffix == ".gz":
                # Without name and time the same events give the same bytes.
                zipped = stack.enter_context(gzip.GzipFile("", "wb", 6, raw, mtime=0))
                yield cast(IO[bytes], zipped)
            else:
                yield raw
        partial.replace(path)
    except OSError as error:
        raise DistilwatchError(
            f"events cannot be written ({error.strerror})",
            f"--out {path}",
            "free some space, or choose another place",
        ) from error
    finally:
        partial.unlink(missing_ok=True)
