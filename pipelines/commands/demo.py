"""distilwatch demo"""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.commands import options


@click.command(short_help="See it work: everything on this machine, offline, in a minute or two.")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("distilwatch-demo"),
    show_default=True,
    metavar="DIR",
    help="Where everything goes.",
)
@click.option(
    "--seed",
    metavar="N",
    type=click.IntRange(0, 2**31 - 1),
    default=7,
    show_default=True,
    help="Of the traffic.",
)
@options.as_json
def demo(folder: Path, seed: int, as_json: bool) -> None:
    """Simulate labelled traffic, learn from its benign history, detect campaigns in the rest, and
    compare with the truth.

    Nothing leaves this machine, and no broker, cloud or network is needed. It ends with the flagged
    clusters, what the truth was, and a page to open.

    \b
    Example:
      distilwatch demo --dir /tmp/distilwatch-demo
    """
    from functools import partial

    from pipelines import preflight
    from pipelines.console import Console

    with Console(as_json) as console:
        console.step("Check the folder")
        look = preflight.Preflight()
        look.check(partial(preflight.check_folder_target, folder, "--dir"))
        look.finish()
        look.check(lambda: folder.mkdir(parents=True, exist_ok=True))
        look.finish()

        from pipelines.demo import run

        run(folder, seed, console)
