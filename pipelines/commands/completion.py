"""distilwatch completion"""

from __future__ import annotations

import click

_WHERE = {
    "bash": "~/.local/share/bash-completion/completions/distilwatch",
    "zsh": "a file _distilwatch in a folder of $fpath",
    "fish": "~/.config/fish/completions/distilwatch.fish",
}


@click.command(short_help="Print what a shell needs to complete commands and options.")
@click.argument("shell", type=click.Choice(list(_WHERE)))
def completion(shell: str) -> None:
    """Print a script with which bash, zsh or fish complete commands, options and their values.

    \b
    Examples:
      mkdir -p ~/.local/share/bash-completion/completions
      distilwatch completion bash > ~/.local/share/bash-completion/completions/distilwatch
      source <(distilwatch completion zsh)
      distilwatch completion fish > ~/.config/fish/completions/distilwatch.fish
    """
    from click.shell_completion import get_completion_class

    from pipelines.commands.group import cli

    made = get_completion_class(shell)
    assert made is not None  # click has all three
    click.echo(made(cli, {}, "distilwatch", "_DISTILWATCH_COMPLETE").source())
    click.echo(f"Put it into {_WHERE[shell]}, and start a new shell.", err=True)
