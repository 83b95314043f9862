"""distilwatch share"""

from __future__ import annotations

import click

from pipelines.commands.groups import Group
from pipelines.commands.share.drill import drill
from pipelines.commands.share.match import match
from pipelines.commands.share.out import approve, propose, publish, reject, revoke
from pipelines.commands.share.say import opinion, sightings
from pipelines.commands.share.see import key, listing, log, misp, preview
from pipelines.commands.share.take import poll
from pipelines.commands.share.watch import try_, watch


@click.group(cls=Group, short_help="Tell other labs of campaigns, and hear of theirs.")
def share() -> None:
    """Tell other labs of confirmed campaigns, and hear of theirs.

    Nothing leaves by default. What may leave to whom is in a policy (docs/sharing.md); each message
    is proposed, looked at, approved by a second person, published, and kept in a log that nobody
    can change unseen.

    \b
    Examples:
      distilwatch share propose c-8d1f --to forum --output duckdb:///out.duckdb
      distilwatch share poll --from forum --output duckdb:///out.duckdb
    """


for _command in (
    propose, preview, approve, reject, publish, revoke, poll, watch, try_, match, sightings,
    opinion, listing, log, misp, key, drill,
):  # fmt: skip
    share.add_command(_command)
