"""What a command reads: events, what reading them costs, labels, folders."""

from __future__ import annotations

import difflib
import glob
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from schemas.errors import DistilwatchError, without_user

if TYPE_CHECKING:
    from pipelines.config import Config
    from transforms.ingest.bigquery import Estimate

_BROKER = re.compile(r"[A-Za-z0-9.-]+:\d+/[^/]+$")
FILE_KINDS = (".jsonl", ".jsonl.gz")


def check_input(uri: str, endless: bool = False, far: bool = False) -> None:
    """Raises DistilwatchError when there are no events to be had from a URI.

    Args:
      uri: a path, kafka://host:port/topic, or bigquery://project/dataset/table.
      endless: whether the topic may go on for ever.
      far: whether only workers need reach the broker of a topic that goes on for ever.
    """
    try:
        parts = urlsplit(uri)
    except ValueError as error:  # of brackets that hold no address
        raise DistilwatchError(
            f"this is no address: {error}", f"--input {without_user(uri)}", "mend it"
        ) from None
    if parts.scheme == "kafka":
        from transforms.ingest.kafka import check_broker, parse_kafka_uri

        bounded = parse_kafka_uri(uri).bounded
        if not bounded and not endless:
            raise DistilwatchError(
                "history must have an end", f"--input {uri}", "leave bounded=false out"
            )
        if bounded or not far:
            check_broker(uri)
        return
    if parts.scheme == "bigquery":
        from transforms.bigquery import parse_bigquery_uri

        parse_bigquery_uri(uri, table=True)  # the table is looked at with its cost
        return
    if parts.scheme not in ("", "file") and len(parts.scheme) > 1:
        near = difflib.get_close_matches(parts.scheme, ("kafka", "bigquery", "file"), n=1)
        raise DistilwatchError(
            f"events cannot be read from {parts.scheme}://",
            f"--input {uri}",
            f"did you mean {near[0]}://?"
            if near
            else "give a file, kafka://host:port/topic or bigquery://project/dataset/table",
        )
    path = Path(uri.removeprefix("file://"))  # as transforms.ingest.files reads it
    if any(letter in str(path) for letter in "*?["):
        if not any(map(os.path.isfile, glob.iglob(str(path)))):
            raise DistilwatchError("no file matches", f"--input {uri}", "check the pattern")
        return
    if not path.exists():
        raise DistilwatchError("the file does not exist", f"--input {uri}", _near_file(path))
    if path.is_dir():
        raise DistilwatchError(
            "is a folder, not a file", f"--input {uri}", f"give its files: '{path / '*.jsonl'}'"
        )
    if not os.access(path, os.R_OK):
        raise DistilwatchError(
            "the file may not be read", f"--input {uri}", "ask for the permission to read it"
        )
    if path.is_file() and not path.name.endswith(FILE_KINDS):
        raise DistilwatchError(
            "the kind of file is not known from its name",
            f"--input {uri}",
            f"events are read from {' and '.join(FILE_KINDS)} files",
        )
    if path.is_file() and not path.stat().st_size:
        raise DistilwatchError("the file is empty", f"--input {uri}", "check how it was made")


def check_reading_cost(
    config: Config, inputs: Sequence[str], times: int = 1
) -> tuple[Estimate, ...]:
    """What reading will cost, of inputs that cost something.

    Args:
      config: with prices and the limit.
      inputs: URIs; those that are wrong are passed over here.
      times: how often they will be read.

    Raises:
      DistilwatchError: it costs more than it may, or a table cannot be read.
    """
    tables = []
    for uri in inputs:
        with suppress(DistilwatchError):  # which is told of the input
            if uri.startswith("bigquery://"):
                check_input(uri)
                tables.append(uri)
    if not tables:
        return ()
    from transforms.ingest.bigquery import estimate

    how = config.bigquery
    queried = how.read_with == "query"
    price = how.query_usd_per_tib if queried else how.read_usd_per_tib
    found = tuple(estimate(uri, how.read_with, price, times) for uri in tables)
    total = sum(one.usd for one in found)
    if how.max_cost_usd and total > how.max_cost_usd:
        lines = "; ".join(one.line() for one in found)
        raise DistilwatchError(
            f"reading would cost about {total:,.2f} USD, and {how.max_cost_usd:,.2f} are allowed "
            f"({lines})",
            "bigquery.max_cost_usd",
            "read less, with ?start=…&end=… after the table, or raise the limit",
        )
    return found


def check_labels(path: Path) -> None:
    """Raises DistilwatchError when a file of labels cannot be read."""
    if path.is_dir():
        raise DistilwatchError("is a folder, not a file", f"--labels {path}", "give a file in it")
    if not path.is_file():
        raise DistilwatchError("the file does not exist", f"--labels {path}", _near_file(path))
    if not os.access(path, os.R_OK):
        raise DistilwatchError(
            "the file may not be read", f"--labels {path}", "ask for the permission to read it"
        )


def check_folder(path: Path, option: str) -> None:
    """Raises DistilwatchError when there is no folder to read from."""
    if not path.is_dir():
        what = "is a file, not a folder" if path.exists() else "the folder does not exist"
        raise DistilwatchError(what, f"{option} {path}", "give an existing folder")


def _near_file(path: Path) -> str:
    if path.parent.is_dir():
        names = [p.name for p in path.parent.iterdir()]
        near = difflib.get_close_matches(path.name, names, n=2)
        if near:
            return f"did you mean {' or '.join(str(path.parent / name) for name in near)}?"
        return "check the name; `distilwatch simulate --out events.jsonl` makes some events"
    if _BROKER.match(str(path)):
        return f"write kafka://{path} if it is a topic"
    return f"there is no folder {path.parent}"
