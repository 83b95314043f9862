"""distilwatch report"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from pipelines.commands import options


@click.command(short_help="Write what was found as one HTML page.")
@options.tables
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    metavar="FILE",
    help="Where the page goes.",
)
@options.labels
@options.as_json
def report(output: str, html: Path, labels: Path | None, as_json: bool) -> None:
    """Write what was found as one HTML page that needs nothing else.

    \b
    Example:
      distilwatch report --output duckdb:///out.duckdb --html report.html
    """
    from pipelines import preflight
    from pipelines.console import Console
    from pipelines.tables import check_tables

    with Console(as_json) as console:
        console.step("Check tables, labels and page")
        look = preflight.Preflight()
        path = look.check(partial(check_tables, output))
        look.check(partial(preflight.check_file_target, html, "--html"))
        if labels is not None:
            look.check(partial(preflight.check_labels, labels))
        look.finish()
        assert path is not None  # finish() would have raised

        from pipelines.report import write_report

        console.step("Write the page")
        written = write_report(path, html, labels)
        console.result({"html": str(written)}, wrote=[str(written)], then=["open it in a browser"])
