"""distilwatch alerts test-policy"""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.commands import options


@click.command("test-policy", short_help="Try a policy on the past.")
@click.argument("file", type=click.Path(path_type=Path))
@options.any_tables
@options.config_file
@click.option(
    "--days",
    metavar="N",
    type=click.IntRange(1, 3_650),
    default=30,
    show_default=True,
    help="Days of history, before the newest row.",
)
@options.as_json
def test_policy(
    file: Path, output: str, config_path: Path | None, days: int, as_json: bool
) -> None:
    """Say what the policy in FILE would have fired in the last days, against what fires now.

    Nothing is written, and nobody is told. Put the file into the folder alerts.policies when it
    does what you want.

    \b
    Example:
      distilwatch alerts test-policy campaign.yaml --output duckdb:///out.duckdb
    """
    from pipelines.config import load_config
    from pipelines.console import Console
    from pipelines.fetched import at_hand
    from pipelines.oncall import rules_of
    from pipelines.policy_trial import NEEDED, try_policy
    from transforms.alerts.paging import Policy
    from transforms.alerts.part import read_part

    with Console(as_json) as console:
        config = load_config(config_path)
        rules, policy = rules_of(config.alerts), read_part(file, Policy)
        console.step(f"Let {days} days pass again")
        with at_hand(output, config, NEEDED) as path:
            trial = try_policy(path, policy, rules.policies, rules.allowlist, rules.growth, days)
        console.result(trial.as_dict(), trial.lines())
