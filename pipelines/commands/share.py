"""distilwatch share"""

from __future__ import annotations

import click

from pipelines.commands.share_match import match
from pipelines.commands.share_watch import try_, watch


@click.group(short_help="Share what was found with other labs, and use what they found.")
def share() -> None:
    """Share what was found with other labs without giving away customers, and use what they
    found."""


for _command in (watch, try_, match):
    share.add_command(_command)
