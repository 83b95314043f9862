"""distilwatch share poll"""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.commands import options
from pipelines.commands.share import shared


@click.command(short_help="Fetch what other labs tell.")
@shared.tables
@click.option("--from", "feed", required=True, metavar="NAME", help="Feed, as the policy names it.")
@click.option("--again", is_flag=True, help="Everything from the beginning; nothing is doubled.")
@click.option(
    "--file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="A bundle that was handed over, instead of the feed's collection; checked as that is.",
)
@shared.policy_file
@shared.store_folder
@options.as_json
def poll(
    output: str, feed: str, again: bool, file: Path | None, policy_path: Path | None,
    store_path: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Fetch what a feed has since the last time; what is believed goes to the table indicators.

    \b
    Example:
      distilwatch share poll --from forum --output duckdb:///out.duckdb
    """
    from pipelines.console import Console
    from pipelines.sharing import inbound
    from pipelines.sharing.inbound import MENDABLE
    from pipelines.sharing.policy import read_policy
    from pipelines.sharing.store import ShareStore

    with Console(as_json) as console:
        policy, store = read_policy(policy_path), ShareStore(store_path)
        got = inbound.poll(policy, store, feed, output, again, file)
        refused = inbound.reasons(got.received.refused)
        taken = got.received
        lines = [
            f"{got.objects} objects: {len(taken.indicators)} indicators, of which "
            f"{len(got.changed)} are new or newer; {len(taken.said)} sightings, opinions and "
            f"notes; {len(taken.refused)} refused",
            *(f"  refused {n}: {reason}" for reason, n in refused.items()),
            *(f"  {r.object_id}: {r.reason}, {r.detail}" for r in taken.refused[:20]),
        ]
        if got.waits:
            lines.append(
                "Some are from the future: is our clock late? The next poll asks for them again."
            )
        if got.more:
            lines.append(f"There is more: run it again{', without --again' if again else ''}.")
        if any(r.reason in MENDABLE for r in taken.refused):
            lines.append(
                "What was refused for its source or signature comes again only with --again, "
                "such as after a key was added to the policy."
            )
        summary = {
            "objects": got.objects, "indicators": len(taken.indicators),
            "changed": [one.indicator_id for one in got.changed], "said": len(taken.said),
            "refused": refused, "waits": got.waits, "more": got.more,
        }  # fmt: skip
        console.result(summary, lines)
