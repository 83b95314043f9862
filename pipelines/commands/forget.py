"""distilwatch forget"""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path

import click

from pipelines.commands import options

_PSEUDONYM = re.compile(r"[0-9a-f]{32}")


def _pseudonyms(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not _PSEUDONYM.fullmatch(value):
            raise click.BadParameter("give the 32 hex digits that session_scores.key has")
    return values


@click.command(short_help="Remove one account everywhere, for good.")
@click.argument("account")
@click.option(
    "--output",
    "outputs",
    multiple=True,
    metavar="URI",
    help="Tables to remove it from: duckdb:///file.duckdb, parquet:///folder or "
    "bigquery://project/dataset. Repeat for several.",
)
@click.option(
    "--bundle",
    "bundles",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Bundle whose memory of the account goes, too; it is signed anew. Repeat for several.",
)
@click.option(
    "--payment",
    "payments",
    multiple=True,
    callback=_pseudonyms,
    metavar="HEX",
    help="Pseudonym of a payment fingerprint that was only this account's.",
)
@click.option(
    "--empty-letters",
    is_flag=True,
    help="Empty the sealed records of all dead letters, where their key is lost.",
)
@click.option("--dry-run", is_flag=True, help="Only count what would be removed.")
@click.option("--undo", is_flag=True, help="Let its records in again; what is gone stays gone.")
@options.config_file
@options.as_json
def forget(
    account: str,
    outputs: tuple[str, ...],
    bundles: tuple[Path, ...],
    payments: tuple[str, ...],
    empty_letters: bool,
    dry_run: bool,
    undo: bool,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Remove ACCOUNT from tables, spools, books of alerts and bundles, and refuse its records from
    now on.

    ACCOUNT is the id as in events; `-` reads it from standard input, so that no shell remembers it.
    The list of forgotten accounts holds keyed hashes only, and is the record of what was done.
    A run that goes on has its own memory: stop it first, and start it again after. Topics, input
    files, reports and exports are not touched.

    \b
    Example:
      distilwatch forget acct-12 --output duckdb:///out.duckdb --bundle bundle --dry-run
    """
    from pipelines import preflight
    from pipelines.config import load_config
    from pipelines.console import Console

    if account == "-":
        account = sys.stdin.readline().rstrip("\n")
    if not account:
        raise click.BadParameter("is empty", param_hint="ACCOUNT")
    with Console(as_json) as console:
        console.step("Check settings, tables and bundles")
        look = preflight.Preflight()
        config = look.check(lambda: load_config(config_path))
        for folder in bundles:
            look.check(partial(preflight.check_bundle, folder))
        look.finish()
        assert config is not None  # finish() would have raised

        from pipelines.forget import ForgetOptions
        from pipelines.forget import forget as run

        done = run(
            ForgetOptions(
                account, payments, outputs, bundles, config, dry_run, undo, empty_letters
            ),
            console,
        )
        then = ["write reports anew that tell of it"] if done.removed and not dry_run else []
        then += done.left
        console.result(done.as_dict(), done.lines(), then=then)
