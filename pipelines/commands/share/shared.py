"""Options that the commands of `share` have in common."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.user import user_here

policy_file = click.option(
    "--policy",
    "policy_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What may leave to whom, YAML; by default sharing.yaml in $DISTILWATCH_HOME.",
)
store_folder = click.option(
    "--store",
    "store_path",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Log and proposals of this lab; by default sharing/ in $DISTILWATCH_HOME.",
)
by = click.option("--by", metavar="NAME", help="Who does this; by default this machine's user.")
tables = click.option(
    "--output",
    "output",
    required=True,
    metavar="URI",
    help="The tables: duckdb:///file.duckdb or bigquery://project/dataset",
)
proposal = click.argument("proposal")


def person(given: str | None) -> str:
    """Who does this."""
    return user_here() if given is None else given
