"""distilwatch share propose, approve, reject, publish, revoke"""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.commands import options
from pipelines.commands.share import shared


@click.command(short_help="Propose to tell a recipient of a confirmed cluster.")
@click.argument("cluster_id")
@shared.tables
@click.option("--to", required=True, metavar="NAME", help="Recipient, as the policy names it.")
@shared.by
@shared.policy_file
@shared.store_folder
@options.as_json
def propose(
    cluster_id: str, output: str, to: str, by: str | None, policy_path: Path | None,
    store_path: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Propose to tell a recipient of CLUSTER_ID, which somebody has confirmed. Nothing leaves.

    Says of everything that could be told whether it leaves or stays, and why.

    \b
    Example:
      distilwatch share propose c-8d1f --to forum --output duckdb:///out.duckdb
    """
    from pipelines.console import Console
    from pipelines.sharing import outbound, words
    from pipelines.sharing.policy import read_policy
    from pipelines.sharing.store import ShareStore

    with Console(as_json) as console:
        policy, store = read_policy(policy_path), ShareStore(store_path)
        made = outbound.propose(policy, store, output, cluster_id, to, shared.person(by))
        lines = words.verdict_lines(made.candidates)
        summary = {
            "proposal": made.proposal.name if made.proposal else None,
            "sha256": made.proposal.digest if made.proposal else None,
            "candidates": [
                {
                    "kind": c.kind.value, "what": c.what, "leaves": c.indicator is not None,
                    "why": c.why, "indicator": c.indicator.indicator_id if c.indicator else None,
                }
                for c in made.candidates
            ],
        }  # fmt: skip
        if made.proposal is None:
            console.result(summary, [*lines, "", "Nothing new may leave: there is no proposal."])
            return
        lines += ["", words.proposal_line(made.proposal)]
        name = made.proposal.name
        console.result(summary, lines, then=[f"distilwatch share preview {name}"])


@click.command(short_help="Sign off what a proposal would send.")
@shared.proposal
@click.option(
    "--sha256",
    required=True,
    metavar="HEX",
    help="Of what you have looked at, as the preview shows it; twelve digits are enough.",
)
@shared.by
@shared.policy_file
@shared.store_folder
@options.as_json
def approve(
    proposal: str, sha256: str, by: str | None, policy_path: Path | None, store_path: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Sign off PROPOSAL: its bytes, and no others, may be published then.

    \b
    Example:
      distilwatch share approve p-3f9a --sha256 3f9a04c1b2d7 --by mina
    """
    from pipelines.console import Console
    from pipelines.sharing import signoff
    from pipelines.sharing.policy import read_policy
    from pipelines.sharing.store import ShareStore

    with Console(as_json) as console:
        policy, store = read_policy(policy_path), ShareStore(store_path)
        done = signoff.approve(policy, store, proposal, sha256, shared.person(by))
        _say(console, store, done, [f"distilwatch share publish {done.name}"])


@click.command(short_help="End a proposal that has not left.")
@shared.proposal
@click.option("--why", required=True, metavar="TEXT", help="Why; for the log.")
@shared.by
@shared.store_folder
@options.as_json
def reject(proposal: str, why: str, by: str | None, store_path: Path | None, as_json: bool) -> None:
    """End PROPOSAL, which has not left.

    \b
    Example:
      distilwatch share reject p-3f9a --why "too early"
    """
    from pipelines.console import Console
    from pipelines.sharing import signoff
    from pipelines.sharing.store import ShareStore

    with Console(as_json) as console:
        store = ShareStore(store_path)
        _say(console, store, signoff.reject(store, proposal, why, shared.person(by)), [])


@click.command(short_help="Send what was approved.")
@shared.proposal
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the bundle there, to be handed over, instead of to the recipient's collection.",
)
@shared.by
@shared.policy_file
@shared.store_folder
@options.as_json
def publish(
    proposal: str, file: Path | None, by: str | None, policy_path: Path | None,
    store_path: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Send PROPOSAL to its recipient's TAXII collection. May be repeated after a failure.

    \b
    Example:
      distilwatch share publish p-3f9a
    """
    from pipelines.console import Console
    from pipelines.sharing import signoff
    from pipelines.sharing.policy import read_policy
    from pipelines.sharing.store import ShareStore

    with Console(as_json) as console:
        policy, store = read_policy(policy_path), ShareStore(store_path)
        done = signoff.publish(policy, store, proposal, shared.person(by), file)
        _say(console, store, done, [])


@click.command(short_help="Take back what has left.")
@click.argument("what")
@click.option("--why", required=True, metavar="TEXT", help="Why; for the log, it does not leave.")
@click.option("--publish/--no-publish", "now", default=True, help="Send it at once.")
@shared.by
@shared.policy_file
@shared.store_folder
@options.as_json
def revoke(
    what: str, why: str, now: bool, by: str | None, policy_path: Path | None,
    store_path: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Take back WHAT has left: an indicator's id, a campaign, a proposal, or a cluster.

    All recipients that had it are told. It needs no second person, and is for ever. Where some
    cannot be told the others are, and the exit code is 2; the same command again tells the rest.

    \b
    Example:
      distilwatch share revoke c-8d1f --why "it was a reseller"
    """
    from pipelines.console import Console
    from pipelines.sharing import signoff, words
    from pipelines.sharing.policy import read_policy
    from pipelines.sharing.store import ShareStore
    from schemas.errors import DistilwatchError

    with Console(as_json) as console:
        policy, store = read_policy(policy_path), ShareStore(store_path)
        person = shared.person(by)
        made, left = signoff.take_back(policy, store, what, why, person)
        failed: dict[str, DistilwatchError] = {}
        if now:
            made, failed = signoff.publish_each(policy, store, made, person)
        for to, refused in left.items():
            console.warn(f"{to} had it and was not told: {refused.what}; {refused.mend}")
        for name, refused in failed.items():
            console.warn(
                f"{name} may not have arrived: {refused.what}; `distilwatch share publish {name}`, "
                "or this command again"
            )
        then = [
            f"distilwatch share publish {one.name}" + ("" if one.name in failed else " --file FILE")
            for one in made
            if one.state != "sent"
        ]
        console.result(
            {
                "proposals": [one.name for one in made], "sent": [one.state for one in made],
                "failed": sorted(failed), "not_told": sorted(left),
            },
            [words.proposal_line(one) for one in made],
            then=then,
        )  # fmt: skip
        if left or failed:
            raise SystemExit(2)


def _say(console: object, store: object, done: object, then: list[str]) -> None:
    from pipelines.console import Console
    from pipelines.sharing import words
    from pipelines.sharing.store import Proposal, ShareStore

    assert isinstance(console, Console)
    assert isinstance(store, ShareStore)
    assert isinstance(done, Proposal)
    console.result(
        {
            "proposal": done.name,
            "state": done.state,
            "sha256": done.digest,
            "log": store.log.head(),
        },
        [words.proposal_line(done), f"End of the log: {store.log.head()}"],
        then=then,
    )
