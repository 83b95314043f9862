"""distilwatch simulate"""

from __future__ import annotations

import click

from pipelines.commands import options


@click.command(short_help="Make labelled traffic to try things on.")
@click.option(
    "--out",
    required=True,
    metavar="URI",
    help="Where events go: a .jsonl file, or kafka://host:port/topic.",
)
@options.as_json
def simulate(out: str, as_json: bool) -> None:
    """Make labelled traffic."""
    raise NotImplementedError(out, as_json)
