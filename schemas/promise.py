"""What others rely on in the two contracts, and that it changes only by adding.

`tests/schemas/contract_v1.json` holds what was promised. `python -m schemas.generate` notes new
fields and columns there, and refuses every other change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas import events
from schemas.errors import DistilwatchError
from schemas.tables import TABLES

_MEND = "put it back; contracts change only by adding, at the end, and never REQUIRED"


def promise() -> dict[str, Any]:
    """Names, types and modes of event fields and columns, and the tables' keys."""
    return {
        "event": {f.name: [f.kind, f.required] for f in events.EVENT_FIELDS},
        "tables": {
            name: {
                "key": [name for name in table.key if name not in table.key_added],
                "columns": [
                    [c.name, c.type, c.mode, [[f.name, f.type] for f in c.fields]]
                    for c in table.columns
                ],
            }
            for name, table in TABLES.items()
        },
    }


def added_to(before: Mapping[str, Any]) -> dict[str, Any]:
    """The promise of today, which keeps the one before.

    Args:
      before: what was promised, in the form of `promise`.

    Raises:
      DistilwatchError: something of it is gone or changed, or what is new is required.
    """
    now = promise()
    for name, field in before["event"].items():
        _same(now["event"].get(name), field, f"event field {name}")
    for name in now["event"].keys() - before["event"].keys():
        _same(now["event"][name][1], False, f"new event field {name}: required")
    for name, table in before["tables"].items():
        current = now["tables"].get(name)
        if current is None:
            raise DistilwatchError("the table is gone", f"table {name}", _MEND)
        _same(current["key"], table["key"], f"key of {name}")
        old = len(table["columns"])
        for i, column in enumerate(table["columns"]):
            where = f"column {name}.{column[0]}"
            there = current["columns"][i] if i < len(current["columns"]) else [None] * 4
            _same(there[:3], column[:3], where)
            _same((there[3] or [])[: len(column[3])], column[3], f"fields of {where}")
        for column in current["columns"][old:]:
            if column[2] == "REQUIRED":
                raise DistilwatchError("is REQUIRED", f"new column {name}.{column[0]}", _MEND)
    return now


def _same(now: Any, before: Any, where: str) -> None:
    if now != before:
        raise DistilwatchError(f"was {before}, and is {now}", where, _MEND)
