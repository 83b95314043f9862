"""distilwatch evaluate"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from pipelines.commands import options


@click.command(short_help="Compare what was found with labels.")
@options.tables
@click.option(
    "--labels",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The truth, one JSON object a line; `simulate` writes it.",
)
@click.option(
    "--markdown",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the figures as Markdown too.",
)
@click.option(
    "--plots",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write the ROC curve and the calibration as SVG pictures too.",
)
@options.as_json
def evaluate(
    output: str, labels: Path, markdown: Path | None, plots: Path | None, as_json: bool
) -> None:
    """Compare what `detect` wrote with the truth; the unit of judgement is the account.

    \b
    Example:
      distilwatch evaluate --output duckdb:///out.duckdb --labels labels.jsonl
    """
    from pipelines import preflight
    from pipelines.console import Console
    from pipelines.tables import check_tables

    with Console(as_json) as console:
        console.step("Check tables, labels and where to write")
        look = preflight.Preflight()
        path = look.check(partial(check_tables, output))
        look.check(partial(preflight.check_labels, labels))
        if markdown is not None:
            look.check(partial(preflight.check_file_target, markdown, "--markdown"))
        if plots is not None:
            look.check(partial(preflight.check_writable, plots, "--plots"))
        look.finish()
        assert path is not None  # finish() would have raised

        from pipelines import evaluate as run

        console.step("Compare")
        accounts, alerts, first_ms = run.read_accounts(path, labels)
        result = run.judge(accounts, alerts, first_ms)
        wrote = []
        if markdown is not None:
            markdown.write_text(run.as_markdown(result), encoding="utf-8")
            wrote.append(str(markdown))
        if plots is not None:
            wrote += [str(p) for p in run.write_plots(accounts, plots)]
        for table in run.tables(result):
            console.print(table)
        then = [f"distilwatch report --output {output} --labels {labels} --html report.html"]
        console.result(result.as_dict(), wrote=wrote, then=then)
