"""distilwatch alerts: policies, decisions, what waits to be sent, and the drill."""

from __future__ import annotations

import click

from pipelines.commands.alerts.decide import decide, history, undo
from pipelines.commands.alerts.drill import drill
from pipelines.commands.alerts.outbox import outbox, send
from pipelines.commands.alerts.policies import test_policy
from pipelines.commands.groups import Group

__all__ = ["alerts"]


@click.group(cls=Group, short_help="Decide about clusters, try policies, look after what is sent.")
def alerts() -> None:
    """Decide about clusters, try policies on the past, look after what is sent.

    \b
    Examples:
      distilwatch alerts decide c-8d1f --as confirm --output duckdb:///out.duckdb \\
        --why "one operator"
      distilwatch alerts drill --config oncall.yaml
    """


for _command in (decide, undo, history, test_policy, send, outbox, drill):
    alerts.add_command(_command)
