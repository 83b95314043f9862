"""Groups of commands, told in one way."""

from __future__ import annotations

import click

_ENOUGH = 10_000  # characters: nobody's first sentence is cut


class Group(click.Group):
    """Lists its commands in the order of use, each with its whole first sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [
            (name, command.get_short_help_str(_ENOUGH))
            for name, command in self.commands.items()
            if not command.hidden
        ]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)
