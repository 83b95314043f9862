"""Which letters a command is about."""

from __future__ import annotations

from collections.abc import Callable

import click

from pipelines.commands import options


def selection(status: str) -> Callable[[options.F], options.F]:
    """Options that say which letters are meant."""

    def add(command: options.F) -> options.F:
        for option in reversed((
            click.option("--reason", "reasons", multiple=True, metavar="WORD",
                         help="Only letters with this reason, such as not_json. Repeatable."),
            click.option("--source", "sources", multiple=True, metavar="NAME",
                         help="Only of this topic (kafka://name) or file. Repeatable."),
            click.option("--run", "runs", multiple=True, metavar="RUN_ID",
                         help="Only those that this run refused. Repeatable."),
            click.option("--status", "statuses", multiple=True,
                         type=click.Choice(["open", "still_refused", "gone", "replayed"]),
                         help=status),
        )):  # fmt: skip
            command = option(command)
        return command

    return add
