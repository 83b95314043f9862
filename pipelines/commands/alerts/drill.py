"""distilwatch alerts drill"""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.commands import options


@click.command(short_help="Make a campaign up, and see how long a page takes.")
@options.config_file
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Score with this bundle; without, one is trained on the drill's own history.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), metavar="N", help="Another world; by default a new one."
)
@options.as_json
def drill(config_path: Path | None, bundle: Path | None, seed: int | None, as_json: bool) -> int:
    """Make a campaign up, find it, and page whoever is on call, to see how long that takes.

    Real channels are told, with [DRILL] before every title, and told that it is over afterwards.
    Nothing gets into real tables. Without channels in the settings a receiver on this machine is
    paged. The exit code is 2 when nobody was, or a channel was not reached.

    \b
    Example:
      distilwatch alerts drill --config oncall.yaml
    """
    from pipelines import preflight
    from pipelines.config import load_config
    from pipelines.console import Console
    from pipelines.drill import drill as run

    with Console(as_json) as console:
        console.step("Check settings, channels and bundle")
        look = preflight.Preflight()
        config = look.check(lambda: load_config(config_path))
        if config is not None:
            look.check(lambda: preflight.check_scratch(config))
            look.check(lambda: preflight.check_on_call(config))
        if bundle is not None:
            look.check(lambda: preflight.check_bundle(bundle))
        look.finish()
        assert config is not None  # finish() would have raised
        found = run(config, bundle, seed, console)
        console.result(found.as_dict(), found.lines())
    return 0 if found.passed else 2
