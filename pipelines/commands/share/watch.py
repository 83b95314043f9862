"""distilwatch share watch, distilwatch share try"""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.commands import options


@click.command(short_help="Make the watch list from received indicators.")
@click.option(
    "--from",
    "sources",
    multiple=True,
    required=True,
    metavar="URI",
    help="Received indicators: duckdb:///file or bigquery://project/dataset that was "
    "polled into, or a .jsonl file of rows of the table indicators. Repeat for several.",
)
@click.option(
    "--list",
    "listed",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Watch list; replaced, but what was let out of quarantine stays out.",
)
@options.config_file
@options.as_json
def watch(sources: tuple[str, ...], listed: Path, config_path: Path | None, as_json: bool) -> None:
    """Make the watch list that `detect` looks for from indicators of other labs.

    A run without an end follows the file; nothing has to be started again.

    \b
    Example:
      distilwatch share watch --from duckdb:///sharing.duckdb --list watch.json
    """
    from pipelines.config import load_config
    from pipelines.console import Console
    from pipelines.watching import received, update_watch_list, watched_of

    with Console(as_json) as console:
        config = load_config(config_path)
        found = [one for uri in sources for one in received(uri)]
        watched = watched_of(found, config)
        states = update_watch_list(listed, watched)
        console.result(
            {"received": len(found), "watched": len(watched), **states},
            [f"{states['live']:,} indicators are live, {states['quarantined']:,} in quarantine."],
            [str(listed)],
            [
                f"distilwatch share try {listed} --input HISTORY --bundle DIR --output duckdb:///try.duckdb"
            ]
            if states["quarantined"]
            else [],
        )


@click.command(name="try", short_help="See what indicators would have done to history.")
@click.argument("indicators", type=click.Path(path_type=Path))
@options.inputs
@options.bundle("Bundle to score with.")
@click.option(
    "--output",
    required=True,
    metavar="URI",
    help="Where the tables of the dry run go: duckdb:///file; an earlier dry run is replaced.",
)
@click.option("--release", is_flag=True, help="Let what is harmless out of quarantine.")
@options.config_file
@options.as_json
def try_(
    indicators: Path,
    inputs: tuple[str, ...],
    bundle: Path,
    output: str,
    release: bool,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Run detection over history with the watch list INDICATORS as if all of it were live.

    An indicator passes when few accounts of the history carry it, and it makes no cluster be
    flagged that is not flagged without it. Nothing changes unless --release is given.

    \b
    Example:
      distilwatch share try watch.json --input history.jsonl --bundle bundle \\
        --output duckdb:///try.duckdb --release
    """
    from functools import partial

    from pipelines import preflight
    from pipelines.config import load_config
    from pipelines.console import Console
    from pipelines.watching import release as let_out
    from pipelines.watching import try_indicators

    with Console(as_json) as console:
        look = preflight.Preflight()
        config = look.check(lambda: load_config(config_path))
        for uri in inputs:
            look.check(partial(preflight.check_input, uri))
        look.check(lambda: preflight.check_bundle(bundle))
        look.finish()
        assert config is not None  # finish() would have raised
        found = try_indicators(indicators, list(inputs), bundle, output, config, console)
        states = let_out(indicators, found.tried) if release else {}
        lines = found.lines()
        if states:
            lines.append(f"{states['live']:,} are live, {states['quarantined']:,} in quarantine.")
        console.result(
            found.as_dict() | states, lines, [output, *([str(indicators)] if release else [])]
        )
