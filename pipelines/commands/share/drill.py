"""distilwatch share drill"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipelines.commands import options


@click.command(short_help="Rehearse: three labs, one campaign too thin at each, one exchange.")
@click.option(
    "--folder",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Empty folder for all that the labs have.",
)
@click.option(
    "--taxii",
    required=True,
    metavar="URL",
    help="Collection of a TAXII 2.1 server that may be read and written, and is empty.",
)
@click.option("--user-env", default="", metavar="NAME", help="Variable with the user's name.")
@click.option("--password-env", default="", metavar="NAME", help="Variable with the password.")
@click.option(
    "--broker",
    "brokers",
    multiple=True,
    metavar="HOST:PORT",
    help="Kafka broker of a lab; three of them, or none to read files.",
)
@click.option(
    "--attack",
    metavar="NAME[:SETTING,…]",
    default=None,
    help="The campaign, as of `distilwatch simulate`; by default 18 accounts that share a wording.",
)
@click.option(
    "--accounts",
    default=400,
    show_default=True,
    type=click.IntRange(50),
    metavar="N",
    help="Customers of each lab.",
)
@click.option(
    "--events",
    default=32_000,
    show_default=True,
    type=click.IntRange(1_000),
    metavar="N",
    help="Requests of each lab.",
)
@click.option(
    "--seed",
    metavar="N",
    default=99,
    show_default=True,
    type=click.IntRange(0),
    help="Of the customers and of the campaign; another one is another drill.",
)
@options.config_file
@options.as_json
def drill(
    folder: Path,
    taxii: str,
    user_env: str,
    password_env: str,
    brokers: tuple[str, ...],
    attack: str | None,
    accounts: int,
    events: int,
    seed: int,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Rehearse an exchange among three labs with made-up customers, and report what each found and
    what each could learn of the others' accounts.

    \b
    Example:
      distilwatch share drill --folder drill --taxii https://forum.example/api/collections/ID/
      distilwatch share drill --folder again --taxii … --seed 3001
    """
    import yaml

    from pipelines.config import load_config
    from pipelines.console import Console
    from pipelines.sharing_drill.drill import ATTACK, DrillOptions, lines, run_drill
    from schemas.errors import DistilwatchError

    if len(brokers) not in (0, 3):
        raise click.BadParameter("give three brokers, or none", param_hint="--broker")
    if folder.is_file():
        raise DistilwatchError("is a file, not a folder", str(folder), "choose another one")
    if folder.exists() and any(folder.iterdir()):
        raise DistilwatchError("the folder is not empty", str(folder), "choose another one")
    with Console(as_json) as console:
        settings: dict[str, Any] = {}
        if config_path is not None:
            load_config(config_path)  # says all that is wrong with it
            settings = yaml.safe_load(config_path.read_text(encoding="utf-8")) or {}
        console.step("Three labs, one campaign, one exchange")
        found = run_drill(
            DrillOptions(
                folder, taxii, user_env, password_env, brokers, attack or ATTACK, accounts, events,
                settings, seed,
            )
        )  # fmt: skip
        console.result(found, lines(found), [str(folder)])
