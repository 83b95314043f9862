"""distilwatch share sightings, opinion"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipelines.commands import options
from pipelines.commands.share import shared

_AGREEMENT = ("strongly-disagree", "disagree", "neutral", "agree", "strongly-agree")
_to = click.option("--to", required=True, metavar="NAME", help="Recipient, as the policy names it.")
_polled = click.option(
    "--from",
    "polled",
    metavar="URI",
    help="The tables that were polled into, where they are others than those of --output.",
)


@click.command(short_help="Propose to tell that indicators of others were seen here.")
@shared.tables
@_polled
@_to
@shared.by
@shared.policy_file
@shared.store_folder
@options.as_json
def sightings(
    output: str, polled: str | None, to: str, by: str | None, policy_path: Path | None,
    store_path: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Propose to tell that indicators of others were seen here; says nothing of accounts.

    Only of what as many accounts have as must share a thing before it is told of.

    \b
    Example:
      distilwatch share sightings --to forum --output duckdb:///out.duckdb
    """
    from pipelines.console import Console
    from pipelines.sharing import saying
    from pipelines.sharing.policy import read_policy
    from pipelines.sharing.store import ShareStore

    with Console(as_json) as console:
        policy, store = read_policy(policy_path), ShareStore(store_path)
        person = shared.person(by)
        _say(console, saying.propose_sightings(policy, store, output, to, person, polled))


@click.command(short_help="Propose to tell what we think of an indicator.")
@click.argument("indicator")
@shared.tables
@_polled
@_to
@click.option("--think", required=True, type=click.Choice(_AGREEMENT), help="What we think of it.")
@click.option("--why", required=True, metavar="TEXT", help="Why, in words that leave.")
@shared.by
@shared.policy_file
@shared.store_folder
@options.as_json
def opinion(
    indicator: str, output: str, polled: str | None, to: str, think: Any, why: str,
    by: str | None, policy_path: Path | None, store_path: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Propose to tell what we think of INDICATOR of another lab, and why.

    \b
    Example:
      distilwatch share opinion indicator--5d0c… --to forum --think agree \\
        --why "seen here as well" --output duckdb:///out.duckdb
    """
    from pipelines.console import Console
    from pipelines.sharing import saying
    from pipelines.sharing.policy import read_policy
    from pipelines.sharing.store import ShareStore

    with Console(as_json) as console:
        policy, store = read_policy(policy_path), ShareStore(store_path)
        person = shared.person(by)
        _say(
            console,
            saying.propose_opinion(
                policy, store, output, indicator, to, think, why, person, polled
            ),
        )


def _say(console: Any, made: Any) -> None:
    from pipelines.sharing import words

    summary = {"proposal": made.name, "sha256": made.digest}
    then = [f"distilwatch share preview {made.name}"]
    console.result(summary, [words.proposal_line(made)], then=then)
