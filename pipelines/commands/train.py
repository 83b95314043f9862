"""distilwatch train"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from pipelines.commands import options


@click.command(short_help="Learn from history what is normal, into a bundle.")
@options.inputs
@options.input_format
@options.bundle("Folder for the bundle; an older bundle there is replaced.")
@click.option(
    "--space-of",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Take the embedding space of this bundle instead of fitting one, so that a stream that "
    "runs with it can change to the new one.",
)
@options.config_file
@click.option(
    "--dispositions",
    "tables",
    multiple=True,
    metavar="URI",
    help="Tables in which staff decided about clusters, duckdb:///file.duckdb or "
    "bigquery://project/dataset: accounts of what was confirmed or permitted are left out of the "
    "history, and those of what was dismissed are kept to calibrate with. Repeat for several.",
)
@options.runner
@options.as_json
@options.beam_args
def train(
    inputs: tuple[str, ...],
    input_format: str | None,
    bundle: Path,
    space_of: Path | None,
    config_path: Path | None,
    tables: tuple[str, ...],
    runner: str,
    as_json: bool,
    beam_args: tuple[str, ...],
) -> None:
    """Learn what is normal from a history of requests, and write it as a signed bundle.

    The history need not be clean: the most outlying few per cent are left out. A week or more, of
    some hundred accounts or more, is a good start. Beam's own options may follow after `--`.

    \b
    Examples:
      distilwatch train --input history.jsonl --bundle bundle
      distilwatch train --input history.jsonl --bundle bundle \\
        --dispositions duckdb:///out.duckdb
    """
    from pipelines import preflight
    from pipelines.config import load_config
    from pipelines.console import Console
    from pipelines.decisions import decisions_in

    with Console(as_json) as console:
        console.step("Check settings, input and bundle folder")
        look = preflight.Preflight()
        config = look.check(lambda: load_config(config_path, options.settings(input_format)))
        for uri in inputs:
            look.check(partial(preflight.check_input, uri))
        look.check(lambda: preflight.check_bundle_target(bundle))
        if space_of is not None:
            look.check(partial(preflight.check_bundle, space_of))
        look.check(lambda: preflight.check_beam_args(beam_args))
        if config is not None:
            look.check(lambda: preflight.check_detectors(config))
            look.check(lambda: preflight.check_scratch(config))
            # Once to fit the embedding space, once to sketch.
            costs = look.check(lambda: preflight.check_reading_cost(config, inputs, times=2))
            look.check(lambda: preflight.check_known_texts(config))
            look.check(lambda: preflight.check_registry(config))
            look.check(lambda: preflight.check_format(config, inputs))
        found = [look.check(partial(decisions_in, uri)) for uri in tables]
        look.finish()
        assert config is not None  # finish() would have raised
        for cost in costs or ():
            console.note(cost.line())
        for uri in inputs:
            if strange := preflight.strange_records(config, uri):
                console.warn(str(strange))

        from pipelines.train import TrainOptions
        from pipelines.train import train as run

        summary = run(
            TrainOptions(
                inputs=list(inputs),
                bundle=bundle,
                config=config,
                runner=runner,
                beam_args=list(beam_args),
                decisions=tuple(row for rows in found for row in rows or ()),
                space_of=space_of,
            ),
            console,
        )
        console.result(
            summary.as_dict(),
            summary.lines(),
            wrote=[str(bundle)],
            then=[
                f"distilwatch detect --input EVENTS --bundle {bundle} --output duckdb:///out.duckdb"
            ],
        )
