"""Reads Terraform's files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hcl2


def bare(value: Any) -> Any:
    """What python-hcl2 reads, without the quotes that some of its versions leave on texts."""
    if isinstance(value, dict):
        return {bare(k): bare(v) for k, v in value.items() if not k.startswith("__")}
    if isinstance(value, list):
        return [bare(v) for v in value]
    return value.strip('"') if isinstance(value, str) else value


def blocks_of(files: Sequence[Path], kind: str) -> list[dict[str, Any]]:
    """All blocks of a kind, such as resource or variable."""
    found = []
    for path in files:
        with path.open(encoding="utf-8") as file:
            found += bare(hcl2.load(file)).get(kind, [])
    return found


# Terraform's own arguments, which every resource has.
_OWN = {"count", "depends_on", "for_each", "lifecycle", "provider"}


def arguments_of(files: Sequence[Path]) -> dict[str, set[str]]:
    """Arguments that are given to each kind of resource, those of blocks with dots."""
    found: dict[str, set[str]] = {}
    for block in blocks_of(files, "resource"):
        for kind, named in block.items():
            for body in named.values():
                found.setdefault(kind, set()).update(_paths(body))
    return found


def _paths(body: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in body.items():
        if name in _OWN:
            continue
        if name == "dynamic":
            for block in value:
                for inner, how in block.items():
                    for content in how["content"]:
                        yield from _paths(content, f"{prefix}{inner}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for content in value:
                yield from _paths(content, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
