"""distilwatch doctor"""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.commands import options

_MARKS = {"ok": "[green]✓[/green]", "warn": "[yellow]![/yellow]", "fail": "[red]✗[/red]",
          "skip": "[dim]·[/dim]"}  # fmt: skip


@click.command(short_help="Look at everything that a run needs, and say how to mend it.")
@options.config_file
@click.option(
    "--input", "inputs", multiple=True, metavar="URI", help="Look at this input, as of `detect`."
)
@click.option(
    "--output", "outputs", multiple=True, metavar="URI", help="Look at this output, as of `detect`."
)
@click.option(
    "--bundle", type=click.Path(path_type=Path), metavar="DIR", help="Look at this bundle."
)
@options.input_format
@options.any_runner
@options.flink_master
@options.as_json
@options.beam_args
def doctor(
    config_path: Path | None,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    bundle: Path | None,
    input_format: str | None,
    runner: str | None,
    flink_master: str | None,
    as_json: bool,
    beam_args: tuple[str, ...],
) -> int:
    """Look at Python, packages, clock, disk, keys, settings, and what is named; change nothing.

    Give it the options of the `detect` that you want to run. It ends with 0 when that would start,
    with 2 when something must be mended first; warnings alone do not change that.

    \b
    Examples:
      distilwatch doctor
      distilwatch doctor --config settings.yaml --bundle bundle \\
        --input kafka://broker:9092/requests --output bigquery://project/dataset
      distilwatch doctor --json | jq '.findings[] | select(.status != "ok")'
    """
    from rich.markup import escape
    from rich.table import Table

    from pipelines.console import Console
    from pipelines.doctor import FAIL, WARN, Subject, examine

    with Console(as_json) as console:
        console.step("Look")
        subject = Subject(
            config_path, inputs, outputs, bundle, runner, beam_args, input_format, flink_master
        )
        found = list(examine(subject))
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
        for column, ratio in (("mark", None), ("name", 2), ("said", 5)):
            table.add_column(column, ratio=ratio, overflow="fold")
        part = ""
        parts = list(dict.fromkeys(one.part for one in found))
        for one in sorted(found, key=lambda one: parts.index(one.part)):
            if one.part != part:
                part = one.part
                table.add_row("", f"[bold]{part}[/bold]", "")
            mend = f"\n[italic]→ {escape(one.mend)}[/italic]" if one.mend else ""
            table.add_row(_MARKS[one.status], escape(one.name), escape(one.said) + mend)
        console.print(table)
        bad = sum(one.status == FAIL for one in found)
        poor = sum(one.status == WARN for one in found)
        lines = ["", f"{bad} to mend before a run, {poor} to look at." if bad or poor
                 else "Nothing to mend."]  # fmt: skip
        console.result(
            {"findings": [one.as_dict() for one in found], "failed": bad, "warned": poor}, lines
        )
    return 2 if bad else 0
