"""distilwatch evaluate"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import click

from pipelines.commands import options


class _How(NamedTuple):
    """The options of the protocol, as `ProtocolOptions` has them, which is slow to import."""

    part: str
    budget: str
    only: str
    seeds: tuple[int, ...]
    max_cells: int
    rounds: int
    looks: int


@click.command(short_help="Compare what was found with labels.")
@click.option("--output", metavar="URI", help="What `detect` wrote: duckdb:///file.duckdb")
@click.option(
    "--labels",
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
@click.option(
    "--protocol",
    is_flag=True,
    help="Run the whole protocol on corpora instead, beside published baselines.",
)
@click.option(
    "--corpus",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="With --protocol: corpora, as `simulate` takes them.",
)
@click.option(
    "--traces",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="With --protocol: traces to take the timing of accounts from.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="With --protocol: the results."
)
@click.option(
    "--part",
    type=click.Choice(["fit", "choose", "report"]),
    default="report",
    show_default=True,
    help="With --protocol: which corpora to judge on; choose on the others.",
)
@click.option(
    "--budget",
    type=click.Choice(["small", "full"]),
    default="small",
    show_default=True,
    help="With --protocol: about an hour, or a night.",
)
@click.option(
    "--only",
    type=click.Choice(["both", "windows", "accounts", "delay", "adaptive"]),
    default="both",
    show_default=True,
    help="With --protocol: windows of prompts, whole accounts, or both; how much campaigns got "
    "before their first alert; or an attacker that sees its alerts and adapts, which needs no "
    "corpus.",
)
@click.option(
    "--looks",
    metavar="N",
    type=click.IntRange(1, 1_000),
    default=24,
    show_default=True,
    help="With --only delay: at how many instants to look.",
)
@click.option(
    "--rounds",
    metavar="N",
    type=click.IntRange(1, 200),
    default=20,
    show_default=True,
    help="With --only adaptive: how often it may adapt.",
)
@click.option(
    "--seed",
    "seeds",
    metavar="N",
    type=click.IntRange(0),
    multiple=True,
    default=(11,),
    show_default=True,
    help="With --protocol: seeds of the main account cells. Repeat for several.",
)
@click.option(
    "--max-cells",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="With --protocol: only the first N account cells.",
)
@options.as_json
def evaluate(
    output: str | None,
    labels: Path | None,
    markdown: Path | None,
    plots: Path | None,
    protocol: bool,
    corpus: Path | None,
    traces: Path | None,
    out: Path | None,
    part: str,
    budget: str,
    only: str,
    looks: int,
    rounds: int,
    seeds: tuple[int, ...],
    max_cells: int,
    as_json: bool,
) -> None:
    """Compare what `detect` wrote with the truth; the unit of judgement is the account.

    With --protocol: simulate, train, detect and judge over a folder of corpora, beside published
    baselines, and write one table (CSV, Markdown) and charts (SVG).

    \b
    Examples:
      distilwatch evaluate --output duckdb:///out.duckdb --labels labels.jsonl
      distilwatch evaluate --protocol --corpus prompts --traces traces --out results
      distilwatch evaluate --protocol --only adaptive --out results
    """
    given = {"--corpus": corpus, "--traces": traces, "--out": out}
    if protocol:
        needed = {"--out": out} if only == "adaptive" else {"--corpus": corpus, "--out": out}
        _needs(needed, "--protocol")
        own = {"--output": output, "--labels": labels, "--markdown": markdown, "--plots": plots}
        _refuses(own, "with --protocol")
        assert out is not None  # _needs() would have raised
        _protocol(
            corpus, traces, out, _How(part, budget, only, seeds, max_cells, rounds, looks), as_json
        )
        return
    _needs({"--output": output, "--labels": labels}, "evaluate")
    _refuses(given, "without --protocol")
    assert output is not None  # _needs() would have raised
    assert labels is not None
    _tables(output, labels, markdown, plots, as_json)


def _needs(given: Mapping[str, object], whom: str) -> None:
    missing = [name for name, value in given.items() if value is None]
    if missing:
        raise click.UsageError(f"{whom} needs {' and '.join(missing)}.")


def _refuses(given: Mapping[str, object], when: str) -> None:
    extra = [name for name, value in given.items() if value is not None]
    if extra:
        raise click.UsageError(f"{' and '.join(extra)} cannot be used {when}.")


def _protocol(
    corpus: Path | None,
    traces: Path | None,
    out: Path,
    how: _How,
    as_json: bool,
) -> None:
    from pipelines import preflight
    from pipelines.console import Console

    part, budget, only, seeds, max_cells, rounds, looks = how
    with Console(as_json) as console:
        console.step("Check corpora and where to write")
        look = preflight.Preflight()
        if corpus is not None:
            look.check(partial(preflight.check_folder, corpus, "--corpus"))
        if traces is not None:
            look.check(partial(preflight.check_folder, traces, "--traces"))
        look.check(partial(preflight.check_writable, out, "--out"))
        look.finish()

        from pipelines.protocol.adaptive.rounds import AdaptiveOptions
        from pipelines.protocol.run import ProtocolOptions, run

        command = (
            "distilwatch evaluate --protocol"
            + (f" --corpus {corpus.name}" if corpus else "")
            + (f" --traces {traces.name}" if traces else "")
            + f" --out {out.name}"
            + (f" --part {part}" if corpus else "")
            + f" --budget {budget} --only {only}"
            + (f" --rounds {rounds}" if only == "adaptive" else "")
            + (f" --looks {looks}" if only == "delay" else "")
            + "".join(f" --seed {seed}" for seed in seeds)
            + (f" --max-cells {max_cells}" if max_cells else "")
        )
        summary = run(
            ProtocolOptions(
                corpus, traces, out, part, seeds, budget, only, max_cells=max_cells, looks=looks,
                adaptive=AdaptiveOptions(rounds=rounds),
            ),
            command,
            console,
        )  # fmt: skip
        console.result(
            summary.as_dict(), summary.lines(), wrote=summary.wrote, then=["read protocol.md there"]
        )


def _tables(
    output: str, labels: Path, markdown: Path | None, plots: Path | None, as_json: bool
) -> None:
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
            wrote.append(str(run.write_markdown(result, markdown)))
        if plots is not None:
            wrote += [str(p) for p in run.write_plots(accounts, plots)]
        for table in run.tables(result):
            console.print(table)
        then = [f"distilwatch report --output {output} --labels {labels} --html report.html"]
        console.result(result.as_dict(), wrote=wrote, then=then)
