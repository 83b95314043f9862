"""distilwatch share match seal, confirm: what we know ourselves."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.commands import options
from pipelines.commands.share.match import shared


@click.command()
@options.inputs
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File of sealed identifiers; added to.",
)
@click.option(
    "--tables",
    metavar="URI",
    help="What `detect` wrote, to look clusters up in: duckdb:///file.duckdb, parquet:///folder or "
    "bigquery://project/dataset",
)
@click.option(
    "--cluster",
    "clusters",
    multiple=True,
    metavar="ID",
    help="Seal what the accounts of this cluster used, which somebody has confirmed. Repeat for "
    "several.",
)
@click.option(
    "--suspects",
    is_flag=True,
    help="Also of clusters that nobody has confirmed, to ask others; not to let them find it.",
)
@click.option(
    "--accounts",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Seal what these accounts used: ids, one a line.",
)
@options.config_file
@options.as_json
def seal(
    inputs: tuple[str, ...],
    out: Path,
    tables: str | None,
    clusters: tuple[str, ...],
    suspects: bool,
    accounts: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Seal the cards, devices and networks of chosen accounts, from their requests.

    \b
    Example:
      distilwatch share match seal --input live.jsonl --tables duckdb:///out.duckdb \\
        --cluster c-8d1f3a2b4c5d6e7f --out confirmed.sealed
    """
    from pipelines.config import load_config
    from pipelines.console import Console
    from pipelines.matching import accounts_of
    from pipelines.sealing import seal as run

    with Console(as_json) as console:
        config = load_config(config_path)
        chosen = accounts_of(tables, clusters, accounts, suspects)
        console.step("Read the requests of these accounts")
        done = run(list(inputs), chosen, out, config, suspects=suspects)
        lines = [
            f"{done.sealed:,} identifiers are in the file.",
            f"{done.accounts:,} of {len(chosen):,} accounts have requests in the input.",
        ]
        if done.unread:
            lines.append(
                f"{done.unread:,} records could not be read; `distilwatch detect` says why."
            )
        console.result(
            {
                "accounts": len(chosen), "seen": done.accounts, "sealed": done.sealed,
                "unread": done.unread,
            },
            lines,
            [str(out)],
            [f"distilwatch share match query --sealed {out} …"]
            if suspects
            else [f"distilwatch share match confirm --sealed {out} --state FILE"],
        )  # fmt: skip


@click.command()
@shared.sealed_file
@shared.state_file
@click.option("--withdraw", is_flag=True, help="Take them back instead.")
@options.as_json
def confirm(sealed: Path, state: Path, withdraw: bool, as_json: bool) -> None:
    """Let peers find identifiers that were confirmed, or no more.

    \b
    Example:
      distilwatch share match confirm --sealed confirmed.sealed --state match.sqlite
    """
    from pipelines.console import Console
    from pipelines.matching import confirm as run

    with Console(as_json) as console:
        count = run(sealed, state, withdraw)
        done = "can be found no more" if withdraw else "can be found"
        console.result({"identifiers": count}, [f"{count:,} identifiers {done}."], [str(state)])
