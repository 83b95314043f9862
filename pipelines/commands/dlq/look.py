"""distilwatch dlq list, and show"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import click

from pipelines.commands import options
from pipelines.commands.dlq.which import selection


@click.command("list")
@options.any_tables
@selection("Only letters of this status. Repeatable.")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="Letters that are named, at most.",
)
@options.config_file
@options.as_json
def list_(
    output: str,
    reasons: tuple[str, ...],
    sources: tuple[str, ...],
    runs: tuple[str, ...],
    statuses: tuple[str, ...],
    limit: int,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Count dead letters by source, reason and status, and name the first of them.

    Nothing of what is in a record is shown.

    \b
    Example:
      distilwatch dlq list --output duckdb:///out.duckdb --reason wrong_type
    """
    from pipelines.config import load_config
    from pipelines.console import as_called
    from pipelines.dead_letters.table import NEEDED, STATUSES, Which, read_letters
    from pipelines.fetched import at_hand

    with at_hand(output, load_config(config_path), NEEDED) as path:
        letters = read_letters(path, Which(reasons, sources, statuses, runs))
    counts = Counter((x.source, x.reason, x.status) for x in letters)
    if as_json:
        grouped = [
            {"source": s, "reason": r, "status": t, "letters": n}
            for (s, r, t), n in sorted(counts.items())
        ]
        named = [letter.as_dict() for letter in letters[:limit]]
        click.echo(json.dumps({"total": len(letters), "counts": grouped, "letters": named}))
        return
    if not letters:
        click.echo("No dead letters.")
        return
    width = max(len(s) for s, _, _ in counts)
    for (source, reason, status), n in sorted(counts.items()):
        click.echo(f"{n:>9,}  {source:<{width}}  {reason:<22}  {status}")
    by_status = Counter(letter.status for letter in letters)
    told = ", ".join(f"{by_status[s]:,} {s}" for s in STATUSES if by_status[s])
    click.echo(f"{len(letters):>9,}  in all: {told}\n")
    for letter in letters[:limit]:
        detail = f": {letter.detail}" if letter.detail else ""
        why = f" ({letter.replay_reason})" if letter.replay_reason else ""
        click.echo(
            f"  {letter.id}  {letter.source} {letter.partition}/{letter.offset}  "
            f"{letter.reason}{detail}  {letter.status}{why}"
        )
    if len(letters) > limit:
        click.echo(f"  … and {len(letters) - limit:,} more; --limit names more of them")
    click.echo(f"\nNext:\n  {as_called(f'distilwatch dlq show {letters[0].id} --output {output}')}")


@click.command()
@click.argument("letter_id")
@options.any_tables
@options.config_file
@click.option(
    "--reveal",
    is_flag=True,
    help="Also print the record itself, decrypted. It may hold a prompt: look who is watching.",
)
@options.as_json
def show(
    letter_id: str, output: str, config_path: Path | None, reveal: bool, as_json: bool
) -> None:
    """Show one dead letter; its record only with --reveal and the key.

    The first letters of an id are enough where they fit one.

    \b
    Example:
      distilwatch dlq show d-4f2a --output duckdb:///out.duckdb
    """
    from pipelines.config import load_config
    from pipelines.dead_letters.table import NEEDED, find_letter
    from pipelines.fetched import at_hand
    from schemas.errors import DistilwatchError
    from transforms.ingest.sealing import letter_keys

    config = load_config(config_path)
    with at_hand(output, config, NEEDED) as path:
        letter = find_letter(path, letter_id)
    facts = letter.as_dict()
    if reveal:
        keys = letter_keys(config.ingest.dead_letter_key_env)
        if keys is None:
            raise DistilwatchError(
                "a record is only shown with the key that it was sealed with",
                "--reveal",
                "name the key's variable in ingest.dead_letter_key_env, and give --config",
            )
        if letter.sealed is None:
            raise DistilwatchError(
                "its record was not kept", letter.id, "read it where it came from"
            )
        raw = keys.open(letter.sealed, letter.place)
        print(
            f"warning: what follows is {letter.id} in the clear; it may hold a customer's prompt "
            "and payment data",
            file=sys.stderr,
            flush=True,
        )
        # Escaped: a record may hold bytes that steer a terminal.
        facts["raw"] = raw.decode("utf-8", "backslashreplace")
    if as_json:
        click.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        if value in (None, ""):
            continue
        shown = json.dumps(value, ensure_ascii=True) if name == "raw" else value
        click.echo(f"{name:<14} {shown}")
