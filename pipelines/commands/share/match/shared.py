"""Options that several commands of `distilwatch share match` have."""

from __future__ import annotations

from pathlib import Path

import click

sealed_file = click.option(
    "--sealed",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Identifiers that `distilwatch share match seal` wrote.",
)
state_file = click.option(
    "--state",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What the server keeps: keys, confirmed identifiers, quotas and the log.",
)
