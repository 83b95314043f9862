"""distilwatch share match"""

from __future__ import annotations

import click

from pipelines.commands.groups import Group
from pipelines.commands.share.match.asking import cost, query
from pipelines.commands.share.match.own import confirm, seal
from pipelines.commands.share.match.server import log, rotate, serve


@click.group(cls=Group, short_help="Find what two labs both know of cards, devices and networks.")
def match() -> None:
    """Find cards, devices and networks that two labs both know; neither learns the others.

    One lab serves what it has confirmed, the other one asks. docs/private_matching.md says what
    each of them learns.

    \b
    Example:
      distilwatch share match confirm --sealed confirmed.sealed --state match.sqlite
    """


for _command in (seal, confirm, serve, query, log, rotate, cost):
    match.add_command(_command)
