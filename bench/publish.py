"""Measures what docs/performance.md says, and puts the figures into the page.

`python -m bench.publish` runs every bench that the page has a part of, one after the other, which
takes two hours or more; with names, these only. What stands behind `--` is handed on to the one
that is named, and the page says so. A bench that fails leaves its part as it is.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import pages

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
PLOT = PAGE.with_name("comparison.svg")
PARTS: dict[str, list[str]] = {
    "comparison": ["bench"],
    "whole": [
        "bench.throughput", "--keys", "2000", "--vectors", "--events", "100000",
        "--jobs", "limit", "batched", "detect",
    ],
    "long": [
        "bench.throughput", "--keys", "600", "--vectors", "--events", "300000",
        "--jobs", "detect", "--rounds", "1",
    ],
    "ways": ["bench.throughput", "--events", "20000"],
    "stages": ["bench.profiling"],
    "events": ["bench.scaling"],
    "slots": ["bench.slots"],
    "workers": ["bench.workers"],
    "reports": ["bench.reports"],
    "resident": ["bench.reports", "--resident", "20000", "--resident-each", "5"],
    "memory": ["bench.memory"],
    "linking": ["bench.linking"],
    "scoring": ["bench.scoring"],
    "starts": ["bench.startup"],
    "latency": ["bench.latency"],
}  # fmt: skip
"""Parts of the page, and the modules that make them, with their arguments."""


def command_of(name: str, more: Sequence[str] = ()) -> str:
    """As people type it."""
    return " ".join(["python -m", *PARTS[name], *more])


def as_lines(name: str, said: str, more: Sequence[str] = ()) -> list[str]:
    """What a command said, as lines of the page: tables as they are, all else as it was printed."""
    lines = said.rstrip().splitlines()
    plain = not any(line.startswith("|") for line in lines)
    body = ["```text", *lines, "```"] if plain else lines
    return [f"`{command_of(name, more)}`:", "", *body]


def measure(name: str, folder: Path, more: Sequence[str] = ()) -> list[str]:
    """Runs a bench, with more arguments, and returns the lines of its part.

    Raises:
      CalledProcessError: it failed; it has said why.
    """
    module, *given = [*PARTS[name], *more]
    if name == "comparison":
        given += ["--out", str(folder)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", module, *given],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    if name == "comparison":
        shutil.copy(folder / "comparison.svg", PLOT)
    return as_lines(name, done.stdout, more)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and writes; 1 when something failed."""
    parser = argparse.ArgumentParser("python -m bench.publish", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PARTS))
    given = list(sys.argv[1:] if argv is None else argv)
    at = given.index("--") if "--" in given else len(given)
    more = given[at + 1 :]
    names = parser.parse_args(given[:at]).names or list(PARTS)
    if more and len(names) != 1:
        parser.error("arguments behind -- are for one part; name it")
    if unknown := set(names) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    failed = []
    with tempfile.TemporaryDirectory(prefix="distilwatch-publish-") as folder:
        for name in names:
            print(f"{name}: {command_of(name, more)}", file=sys.stderr)
            try:
                lines = measure(name, Path(folder), more)
            except subprocess.CalledProcessError:
                failed.append(name)
                continue
            PAGE.write_text(pages.written(PAGE.read_text(), name, lines))
    for name in failed:
        print(f"{name} failed; its part of {PAGE.name} is as it was", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
