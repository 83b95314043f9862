"""Where a dataset or table is: `bigquery://project/dataset[/table]?option=value&…`.

| option | meaning |
|---|---|
| billing | project that jobs run in and are billed to; the dataset's own without |
| endpoint | of the HTTP API; with http:// an emulator, which is asked without credentials |
| storage_endpoint | host:port of the Storage API, of an emulator |
| start, end | of a table: events from this time on, and before this one (RFC 3339, or a date) |

Without the options, an emulator is what BIGQUERY_EMULATOR_HOST and BIGQUERY_STORAGE_EMULATOR_HOST
name. Nothing here needs Google's libraries.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

from schemas.errors import DistilwatchError

OPTIONS = ("billing", "endpoint", "storage_endpoint")
TIMES = ("start", "end")
_PROJECT = re.compile(r"[a-z][a-z0-9.:-]{4,61}[a-z0-9]")
_NAME = re.compile(r"[A-Za-z0-9_]{1,1024}")
_TABLE = re.compile(r"[A-Za-z0-9_-]{1,1024}")


@dataclass(frozen=True)
class BigQueryUri:
    """A dataset, or a table in one.

    Attributes:
      project, dataset: of the data.
      table: "" for a dataset.
      billing: project that jobs run in.
      endpoint: of the HTTP API; "" for Google's own.
      storage_endpoint: host:port of the Storage API; "" for Google's own.
      start, end: bounds of event times, RFC 3339 in UTC; "" for none.
    """

    project: str
    dataset: str
    table: str = ""
    billing: str = ""
    endpoint: str = ""
    storage_endpoint: str = ""
    start: str = ""
    end: str = ""

    @property
    def place(self) -> str:
        """For messages and the names of sources: without options."""
        return "/".join(filter(None, ["bigquery:/", self.project, self.dataset, self.table]))

    @property
    def dataset_id(self) -> str:
        """`project.dataset`, as SQL has it."""
        return f"{self.project}.{self.dataset}"

    @property
    def table_id(self) -> str:
        """`project.dataset.table`, as SQL has it."""
        return f"{self.dataset_id}.{self.table}"

    @property
    def emulated(self) -> bool:
        """Whether this is an emulator, which needs no credentials."""
        return self.endpoint.startswith("http://")


def parse_bigquery_uri(uri: str, table: bool = False) -> BigQueryUri:
    """Reads a URI.

    Args:
      uri: bigquery://project/dataset or bigquery://project/dataset/table.
      table: whether there must be a table; there must be none otherwise.

    Raises:
      DistilwatchError: when something is missing, or is not known.
    """
    form = "bigquery://project/dataset" + ("/table" if table else "")
    try:
        parts = urlsplit(uri)
    except ValueError as error:  # of brackets that hold no address
        raise DistilwatchError(f"this is no address: {error}", uri, f"write {form}") from None
    names = [parts.netloc, *parts.path.strip("/").split("/")] if parts.path.strip("/") else []
    if len(names) != 2 + table:
        raise DistilwatchError(
            f"there must be a project and a dataset{' and a table' if table else ''}",
            uri,
            f"write {form}",
        )
    for name, pattern, what in zip(
        names, (_PROJECT, _NAME, _TABLE), ("project", "dataset", "table"), strict=False
    ):
        if not pattern.fullmatch(name):
            raise DistilwatchError(f"{name!r} cannot be the name of a {what}", uri, f"write {form}")
    options: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        known = OPTIONS + TIMES if table else OPTIONS
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise DistilwatchError(
                f"{name} is no option of BigQuery",
                uri,
                f"did you mean {near[0]}?" if near else f"options are {', '.join(known)}",
            )
        options[name] = _time(value, name, uri) if name in TIMES else value
    endpoint = options.get("endpoint") or os.environ.get("BIGQUERY_EMULATOR_HOST", "")
    if endpoint and "://" not in endpoint:
        endpoint = f"http://{endpoint}"
    storage = options.get("storage_endpoint") or os.environ.get(
        "BIGQUERY_STORAGE_EMULATOR_HOST", ""
    )
    return BigQueryUri(
        names[0],
        names[1],
        names[2] if table else "",
        options.get("billing") or names[0],
        endpoint.rstrip("/"),
        storage.removeprefix("http://"),
        options.get("start", ""),
        options.get("end", ""),
    )


def _time(value: str, name: str, uri: str) -> str:
    try:
        moment = datetime.fromisoformat(value.replace(" ", "+"))  # a + in a query is a space
    except ValueError:
        raise DistilwatchError(
            f"{name} is no time: {value!r}", uri, "write it like 2026-01-31T12:00:00Z"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
