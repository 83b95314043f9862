"""Which folder imports which: `python -m tests.docs.imports` prints the table of the page."""

from __future__ import annotations

from collections import defaultdict
from functools import cache

import grimp

# Modules in no folder, which import nothing of ours.
_ALONE = ("file_lock", "pickling", "secret_files", "spans")


@cache
def imported() -> dict[str, set[str]]:
    """Folders of `transforms` that each one imports, types only among them left in."""
    graph = grimp.build_graph("transforms")
    found: dict[str, set[str]] = defaultdict(set)
    for module in graph.modules:
        own = _folder(module)
        for other in graph.find_modules_directly_imported_by(module):
            if own and _folder(other) not in ("", own):
                found[own].add(_folder(other))
    return found


def _folder(module: str) -> str:
    parts = module.split(".")
    return "" if len(parts) < 2 or parts[1] in _ALONE else parts[1]


def table() -> str:
    """The table, as the page has it."""
    graph = grimp.build_graph("transforms")
    folders = sorted({_folder(m) for m in graph.modules} - {""})
    lines = ["| folder | imports |", "|---|---|"]
    for folder in folders:
        lines.append(f"| `{folder}` | {', '.join(sorted(imported()[folder])) or '—'} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
