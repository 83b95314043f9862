"""distilwatch share match query, cost: we ask others, and what it would cost to guess."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.commands import options
from pipelines.commands.share.match import shared

_kind = click.option(
    "--kind",
    type=click.Choice(["payment", "device", "network"]),
    default="payment",
    show_default=True,
    help="Kind of identifier.",
)


@click.command()
@shared.sealed_file
@click.option("--url", required=True, metavar="URL", help="The other lab's server.")
@click.option(
    "--as",
    "name",
    required=True,
    metavar="NAME",
    help="Name under which it knows us; our token is in DISTILWATCH_MATCH_TOKEN.",
)
@click.option(
    "--from",
    "source",
    required=True,
    metavar="LAB",
    help="What watch.sources in the settings calls the other lab.",
)
@_kind
@click.option(
    "--list",
    "listed",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Watch list that matches are added to.",
)
@click.option(
    "--confidence",
    metavar="N",
    default=90,
    show_default=True,
    type=click.IntRange(0, 100),
    help="Of a match, in the watch list.",
)
@click.option(
    "--valid-for",
    default="30 d",
    show_default=True,
    metavar="TIME",
    help="How long a match is looked for.",
)
@click.option(
    "--ca",
    type=click.Path(exists=True),
    metavar="FILE",
    help="Authority of the server's certificate, PEM.",
)
@click.option(
    "--cert",
    type=click.Path(exists=True),
    metavar="FILE",
    help="Our certificate and key in one file, PEM.",
)
@click.option(
    "--least-batch",
    metavar="N",
    default=256,
    show_default=True,
    type=click.IntRange(1, 4096),
    help="Refuse a server that wants smaller batches, which tell it how much we ask.",
)
@options.config_file
@options.as_json
def query(
    sealed: Path,
    url: str,
    name: str,
    source: str,
    kind: str,
    listed: Path | None,
    confidence: int,
    valid_for: str,
    ca: str | None,
    cert: str | None,
    least_batch: int,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Ask which of our sealed identifiers another lab has confirmed.

    With --list, matches are in quarantine until `share try … --release`, unless watch.sources in
    the settings trusts the lab with `tried_first: false`.

    \b
    Example:
      DISTILWATCH_MATCH_TOKEN=… distilwatch share match query --sealed suspects.sealed \\
        --url https://match.lab-a.example:8440 --as lab-b --from lab-a --list watch.json
    """
    from pipelines.config import load_config
    from pipelines.console import Console
    from pipelines.durations import parse_duration
    from pipelines.matching import ask

    try:
        valid_ms = parse_duration(valid_for)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    with Console(as_json) as console:
        config = load_config(config_path)
        console.step("Ask the other lab")
        found = ask(
            sealed, url, name, source, kind, listed, confidence / 100, valid_ms, ca, cert,
            least_batch, config,
        )  # fmt: skip
        left = f", {found.left:,} wait for the next period" if found.left else ""
        console.result(
            {
                "asked": found.asked,
                "left": found.left,
                "evaluated": found.evaluated,
                "published": found.published,
                "epoch": found.epoch,
                "matches": [one.local for one in found.found],
            },
            [
                f"{len(found.found):,} of {found.asked:,} identifiers are confirmed there{left}.",
                *(f"  {one.kind} {one.local}" for one in found.found),
            ],
            [str(listed)] if listed else [],
        )


@click.command()
@click.option(
    "--quota",
    metavar="N",
    default=4096,
    show_default=True,
    type=click.IntRange(1),
    help="Points that a peer may ask a day.",
)
@click.option(
    "--peers",
    metavar="N",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Peers that guess together.",
)
@click.option(
    "--confirmed",
    metavar="N",
    default=1000,
    show_default=True,
    type=click.IntRange(1),
    help="Identifiers that are confirmed.",
)
@options.as_json
def cost(quota: int, peers: int, confirmed: int, as_json: bool) -> None:
    """Show what it costs a peer to find confirmed identifiers by guessing.

    \b
    Example:
      distilwatch share match cost --quota 1000 --confirmed 5000
    """
    from pipelines.console import Console
    from transforms.sharing.private.enumeration import SPACES, found_a_year, years

    with Console(as_json) as console:
        table = [
            {
                "identifier": space.name, "bits": round(space.bits, 1),
                "years_for_all": years(space, quota, 1.0, peers),
                "found_a_year": found_a_year(space, confirmed, quota * peers),
            }
            for space in SPACES
        ]  # fmt: skip
        lines = [f"{'identifier':<50} {'bits':>6} {'years for all':>14} {'found a year':>13}"]
        lines += [
            f"{row['identifier']:<50} {row['bits']:>6} {row['years_for_all']:>14.3g} "
            f"{row['found_a_year']:>13.3g}"
            for row in table
        ]
        console.result({"quota": quota, "peers": peers, "spaces": table}, lines)
