"""Reads the source of a view: comments that say what it means, then its query in GoogleSQL.

```
-- What the view says, in a paragraph or several.
--
-- ? moment TIMESTAMP: a parameter, of a view that takes some
-- = flagged_clusters
-- column: what it means [unit]
SELECT …
```

`= table` stands for all columns of a table. The order of columns is the query's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import DistilwatchError
from schemas.model import Table

_PARAMETER = re.compile(r"\? (?P<name>\w+) (?P<type>[A-Z0-9]+): (?P<text>.+)")
_ALL_OF = re.compile(r"= (?P<table>\w+)")
_COLUMN = re.compile(r"(?P<name>\w+): (?P<text>.+)")


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a view is asked for; `type` is BigQuery's name."""

    name: str
    type: str
    description: str


@dataclass(frozen=True, slots=True)
class View:
    """A view, or, with parameters, a function that returns a table.

    Attributes:
      name, description: for people and queries.
      columns: meaning and unit by column, in the order of the query.
      query: in GoogleSQL; tables and views of ours by their bare names.
      parameters: in order.
      table: whose columns it has; "" when it has its own.
    """

    name: str
    description: str
    columns: Mapping[str, str]
    query: str
    parameters: tuple[Parameter, ...] = ()
    table: str = ""

    def markdown(self) -> str:
        """Its section of the documentation."""
        call = f"({', '.join(p.name for p in self.parameters)})" if self.parameters else ""
        lines = [f"## `{self.name}{call}`", "", self.description, ""]
        for parameter in self.parameters:
            about = f"`{parameter.name}` ({parameter.type}): {parameter.description}."
            lines += [about, ""]
        if self.table:
            return "\n".join([*lines, f"Columns are those of `{self.table}`.", ""])
        rows = [f"| `{name}` | {text} |" for name, text in self.columns.items()]
        return "\n".join([*lines, "| column | meaning |", "|---|---|", *rows, ""])


def read_view(path: Path, tables: Mapping[str, Table]) -> View:
    """Reads a source.

    Args:
      path: of the file; its name is the view's.
      tables: whose columns it may have.

    Raises:
      DistilwatchError: when a comment cannot be understood.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    head = next((i for i, line in enumerate(lines) if not line.startswith("--")), len(lines))
    said = [line.removeprefix("--").strip() for line in lines[:head]]
    # The last paragraph holds columns and parameters.
    last = max((i for i, line in enumerate(said) if not line), default=-1)
    columns: dict[str, str] = {}
    parameters, table = [], ""
    for line in said[last + 1 :]:
        if found := _PARAMETER.fullmatch(line):
            parameters.append(Parameter(found["name"], found["type"], found["text"]))
        elif found := _ALL_OF.fullmatch(line):
            table = found["table"]
            columns |= {c.name: c.about() for c in tables[table].columns}
        elif found := _COLUMN.fullmatch(line):
            columns[found["name"]] = found["text"]
        else:
            raise DistilwatchError(
                f"the comment {line!r} is no column", str(path), "write `-- name: meaning [unit]`"
            )
    description = " ".join(" ".join(said[:last]).split())
    if not description or not columns:
        raise DistilwatchError("has no description", str(path), "say what it is, in comments")
    query = "\n".join(lines[head:]).strip()
    return View(path.stem, description, columns, query, tuple(parameters), table)
