"""distilwatch dlq: records that were refused, and what becomes of them."""

from __future__ import annotations

import click

from pipelines.commands.dlq.keys import rekey
from pipelines.commands.dlq.look import list_, show
from pipelines.commands.dlq.replay import replay
from pipelines.commands.groups import Group

__all__ = ["dlq"]


@click.group(cls=Group, short_help="List, show and replay records that were refused.")
def dlq() -> None:
    """List, show and replay dead letters: records that were refused, in the table dead_letters.

    \b
    Example:
      distilwatch dlq list --output duckdb:///out.duckdb
      distilwatch dlq replay --output duckdb:///out.duckdb --reason wrong_type \\
        --from kafka://broker:9092/requests --to kafka://broker:9092/requests
    """


for _command in (list_, show, replay, rekey):
    dlq.add_command(_command)
