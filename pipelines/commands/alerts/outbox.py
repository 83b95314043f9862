"""distilwatch alerts send, and alerts outbox list and replay"""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.commands import options
from pipelines.commands.groups import Group

_STATES = ("pending", "sent", "dead", "dropped")


@click.command(short_help="Let alerts live, and send what waits.")
@options.any_tables
@options.config_file
@click.option("--watch", is_flag=True, help="Go on until Ctrl-C.")
@options.as_json
def send(output: str, config_path: Path | None, watch: bool, as_json: bool) -> int:
    """Look at the tables and at what people decided, let alerts live, and send what waits.

    `detect` does the same at its end, and all the time while it reads an endless topic. This is for
    times when it does not run, and for machines that only tell. Over BigQuery the settings name a
    local file, alerts.book, where what was told is remembered.

    The exit code is 2 when a message was given up; a channel that does not answer is tried again,
    up to alerts.attempts times.

    \b
    Example:
      distilwatch alerts send --output duckdb:///out.duckdb --config oncall.yaml
    """
    from pipelines.config import load_config
    from pipelines.console import Console
    from pipelines.observe.traces import traced
    from pipelines.telling import tell, tell_until_stopped

    with Console(as_json) as console, traced(console.warn):
        config = load_config(config_path)
        console.log_as(config.observe.log_format)
        console.step("Look at the tables, and send what waits")
        told = (tell_until_stopped if watch else tell)(output, config, console)
        then = [f"distilwatch alerts outbox list --state dead --output {output}"]
        console.result(told.as_dict(), told.lines(), then=then if told.dead else [])
    return 2 if told.dead else 0


@click.group(cls=Group, short_help="Look after what is to be sent.")
def outbox() -> None:
    """Look after what is to be sent.

    \b
    Example:
      distilwatch alerts outbox list --state dead --output duckdb:///out.duckdb
    """


@outbox.command("list", short_help="List messages.")
@options.any_tables
@options.config_file
@click.option("--state", type=click.Choice(_STATES), multiple=True, help="Only these; repeat.")
@options.as_json
def list_(output: str, config_path: Path | None, state: tuple[str, ...], as_json: bool) -> None:
    """List what waits, was sent, or could not be sent, newest first.

    \b
    Example:
      distilwatch alerts outbox list --state dead --output duckdb:///out.duckdb
    """
    from pipelines.config import load_config
    from pipelines.console import Console
    from pipelines.telling import message_line, messages

    with Console(as_json) as console:
        found = messages(output, load_config(config_path), state)
        lines = [message_line(one) for one in found] or ["There is nothing."]
        dead = any(one.state == "dead" for one in found)
        then = [f"distilwatch alerts outbox replay --output {output}"] if dead else []
        console.result({"messages": [one._asdict() for one in found]}, lines, then=then)


@outbox.command(short_help="Try dead messages again.")
@click.argument("keys", nargs=-1)
@options.any_tables
@options.config_file
@options.as_json
def replay(keys: tuple[str, ...], output: str, config_path: Path | None, as_json: bool) -> None:
    """Try messages again that could not be sent: those of KEYS, or all.

    What a later message of the same alert and channel has overtaken, because it was sent, or says
    that the alert is over, is dropped instead. The others wait then, and go with the next
    `distilwatch alerts send`, or with a running `detect`.

    \b
    Example:
      distilwatch alerts outbox replay --output duckdb:///out.duckdb
    """
    from pipelines.config import load_config
    from pipelines.console import Console
    from pipelines.telling import replay_dead

    with Console(as_json) as console:
        count, over = replay_dead(output, load_config(config_path), keys)
        waits = "message waits" if count == 1 else "messages wait"
        lines = [f"{count:,} {waits} to be sent again."]
        if over:
            lines.append(
                f"{over:,} {'was' if over == 1 else 'were'} dropped: what was told later says all."
            )
        console.result(
            {"replayed": count, "overtaken": over},
            lines,
            then=[f"distilwatch alerts send --output {output}"] if count else [],
        )
