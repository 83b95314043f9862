"""What was found, told to people: one HTML page, or the same in a terminal."""

from __future__ import annotations

from pathlib import Path

from pipelines.report.read import read_story
from pipelines.report.render import render
from schemas.errors import DistilwatchError

__all__ = ["read_story", "render", "write_report"]


def write_report(duckdb_path: Path, html_path: Path, labels: Path | None = None) -> Path:
    """Writes the report of a run.

    Args:
      duckdb_path: tables that `detect` wrote.
      html_path: the page; one that is there is replaced when the new one is complete.
      labels: the truth, when it is known.

    Returns:
      The absolute path of the page.

    Raises:
      DistilwatchError: when tables or labels cannot be read, or the page cannot be written.
    """
    html = render(read_story(duckdb_path, labels))
    target = html_path.absolute()
    fresh = target.with_name(f".{target.name}.new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(html, encoding="utf-8")
        fresh.replace(target)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise DistilwatchError(
            f"the report cannot be written ({error.strerror})",
            str(html_path),
            "choose another place",
        ) from error
    return target
