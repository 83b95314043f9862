"""Reads Terraform's files."""

from __future__ import annotations

from collections.abc import Sequence
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
