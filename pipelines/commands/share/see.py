"""distilwatch share preview, list, log, misp, key"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines.commands import options
from pipelines.commands.share import shared

if TYPE_CHECKING:
    from transforms.sharing.indicators import Direction


@click.command(short_help="Show exactly what a proposal would send.")
@shared.proposal
@click.option("--raw", is_flag=True, help="The bytes themselves, and nothing else.")
@shared.store_folder
@options.as_json
def preview(proposal: str, raw: bool, store_path: Path | None, as_json: bool) -> None:
    """Show all that PROPOSAL would send, object by object, with the SHA-256 of its bytes.

    \b
    Example:
      distilwatch share preview p-3f9a
    """
    from pipelines.console import Console
    from pipelines.sharing import words
    from pipelines.sharing.store import PROPOSED, ShareStore

    with Console(as_json) as console:
        store = ShareStore(store_path)
        found = store.proposal(proposal)
        data = store.read(found.digest)
        if raw:
            sys.stdout.buffer.write(data)
            return
        then = [f"distilwatch share approve {found.name} --sha256 {found.digest[:12]} --by NAME"]
        summary = {
            "proposal": found.name, "to": found.to, "state": found.state, "sha256": found.digest,
            "bundle": data.decode(),
        }  # fmt: skip
        lines = words.preview_lines(found, data)
        console.result(summary, lines, then=then if found.state == PROPOSED else [])


@click.command("list", short_help="List proposals, and what was received.")
@click.option("--output", metavar="URI", help="Also what was received: duckdb:///file.duckdb or "
              "bigquery://project/dataset")  # fmt: skip
@shared.store_folder
@options.as_json
def listing(output: str | None, store_path: Path | None, as_json: bool) -> None:
    """List proposals and what became of them; with --output also the indicators of others.

    \b
    Example:
      distilwatch share list --output duckdb:///out.duckdb
    """
    from dataclasses import asdict

    from pipelines.console import Console
    from pipelines.sharing import words
    from pipelines.sharing.store import ShareStore
    from pipelines.sharing.tables import tables_at

    with Console(as_json) as console:
        store = ShareStore(store_path)
        made = store.proposals()
        received = tables_at(output).indicators("received") if output else []
        lines = [words.proposal_line(one) for one in made] or ["No proposals."]
        for one in received:
            ended = (
                "taken back" if one.revoked else f"until {words.time_of(one.valid_until_ms or 0)}"
            )
            lines.append(
                f"{one.indicator_id}  {one.kind.value} of {one.provider}, {one.campaign}, "
                f"confidence {one.confidence}, TLP:{one.marking.value.upper()}, {ended}"
            )
        console.result(
            {
                "proposals": [asdict(one) for one in made],
                "received": [{**asdict(one), "payload": len(one.payload)} for one in received],
            },
            lines,
        )


@click.command(short_help="Show the log, after checking its chain.")
@click.option("--head", metavar="HEX", help="Hash that the log must still contain.")
@shared.store_folder
@options.as_json
def log(head: str | None, store_path: Path | None, as_json: bool) -> None:
    """Show what was proposed, approved, sent and heard.

    Each entry has the hash of the one before. Keep the last hash elsewhere, and give it with --head
    later: so it is seen when the end of the log was cut off.

    \b
    Example:
      distilwatch share log --head 9c1e4b
    """
    from pipelines.console import Console
    from pipelines.sharing import words
    from pipelines.sharing.store import ShareStore
    from schemas.errors import DistilwatchError

    with Console(as_json) as console:
        store = ShareStore(store_path)
        entries = store.log.entries()
        if head and not any(str(e["hash"]).startswith(head) for e in entries):
            raise DistilwatchError(
                f"the log has no entry {head}: its end was cut off, or it is another log",
                str(store.folder),
                "find out who did that, and restore it from a copy",
            )
        lines = [words.entry_line(entry) for entry in entries]
        end = entries[-1]["hash"] if entries else "-"
        console.result({"entries": entries}, [*lines, "", f"The chain holds. Its end: {end}"])


@click.command(short_help="Write what has left, or was received, as a MISP event.")
@shared.tables
@click.option(
    "--direction",
    type=click.Choice(["shared", "received"]),
    default="shared",
    show_default=True,
    help="Indicators that have left, or that other labs told.",
)
@click.option(
    "--file",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The event to write, JSON.",
)
@options.as_json
def misp(output: str, direction: Direction, file: Path, as_json: bool) -> None:
    """Write indicators of the tables to a file that MISP imports.

    \b
    Example:
      distilwatch share misp --output duckdb:///out.duckdb --file event.json
    """
    import orjson

    from pipelines.console import Console
    from pipelines.sharing.store import write_whole
    from pipelines.sharing.tables import tables_at
    from transforms.sharing.misp import misp_event

    with Console(as_json) as console:
        found = tables_at(output).indicators(direction)
        event = misp_event(found)
        write_whole(file, orjson.dumps(event, option=orjson.OPT_INDENT_2))
        summary = {"indicators": len(found), "file": str(file)}
        console.result(summary, [f"{len(found)} indicators"], wrote=[str(file)])


@click.command(short_help="Print our public key, for other labs' policies.")
@shared.policy_file
@options.as_json
def key(policy_path: Path | None, as_json: bool) -> None:
    """Print the public key that our objects are signed with; made on first use.

    \b
    Example:
      distilwatch share key > our-lab.pem
    """
    from pipelines.console import Console
    from pipelines.sharing.policy import public_pem, read_policy

    with Console(as_json) as console:
        policy = read_policy(policy_path)
        pem = public_pem(policy)
        console.result({"lab": policy.lab, "public_key": pem}, [pem.strip()])
