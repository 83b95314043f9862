"""distilwatch dlq"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines.commands import options

if TYPE_CHECKING:
    from pipelines.config import Config
    from pipelines.console import Console
    from pipelines.dead_letters.raw import Found
    from pipelines.dead_letters.table import Outcome

_DETECT = "detect"


@click.group(short_help="List, show and replay records that were refused.")
def dlq() -> None:
    """List, show and replay dead letters: records that were refused, in the table dead_letters.

    \b
    Example:
      distilwatch dlq list --output duckdb:///out.duckdb
      distilwatch dlq replay --output duckdb:///out.duckdb --reason wrong_type \\
        --from kafka://broker:9092/requests --to kafka://broker:9092/requests
    """


def _selection(status: str) -> Callable[[options.F], options.F]:
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


@dlq.command("list")
@options.any_tables
@_selection("Only letters of this status. Repeatable.")
@click.option("--limit", default=20, show_default=True, help="Letters that are named, at most.")
@options.as_json
def list_(
    output: str,
    reasons: tuple[str, ...],
    sources: tuple[str, ...],
    runs: tuple[str, ...],
    statuses: tuple[str, ...],
    limit: int,
    as_json: bool,
) -> None:
    """Count dead letters by source, reason and status, and name the first of them.

    Nothing of what is in a record is shown.
    """
    from pipelines.console import as_called
    from pipelines.dead_letters.table import NEEDED, STATUSES, Which, read_letters
    from pipelines.fetched import at_hand

    with at_hand(output, _config(None), NEEDED) as path:
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


@dlq.command()
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
    """
    from pipelines.dead_letters.table import NEEDED, find_letter
    from pipelines.fetched import at_hand
    from schemas.errors import DistilwatchError
    from transforms.ingest.sealing import letter_keys

    with at_hand(output, _config(config_path), NEEDED) as path:
        letter = find_letter(path, letter_id)
    facts = letter.as_dict()
    if reveal:
        keys = letter_keys(_config(config_path).ingest.dead_letter_key_env)
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


@dlq.command()
@options.any_tables
@_selection("Letters of this status; by default open and still_refused. Repeatable.")
@click.option(
    "--to",
    "target",
    metavar="WHERE",
    help="kafka://host:port/topic, a file (.jsonl), or the word detect: straight into a bounded "
    "run over --input. Without, letters are only tried, and nothing is written.",
)
@click.option(
    "--from",
    "origins",
    multiple=True,
    metavar="URI",
    help="Topic that letters came from, to read them there, with key and headers, where no key for "
    "their bytes is configured. Files are found by themselves. Repeat for several.",
)
@options.config_file
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="URI",
    help="With --to detect: the events among which the letters belong, as of `detect`.",
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="With --to detect: bundle to score with.",
)
@options.as_json
def replay(
    output: str,
    reasons: tuple[str, ...],
    sources: tuple[str, ...],
    runs: tuple[str, ...],
    statuses: tuple[str, ...],
    target: str | None,
    origins: tuple[str, ...],
    config_path: Path | None,
    inputs: tuple[str, ...],
    bundle: Path | None,
    as_json: bool,
) -> None:
    """Send dead letters back after a fix.

    Each is decoded first, with the settings of now: only what is accepted is sent, the rest stays,
    with its new reason. What was sent is not sent again; status and place are kept by letter.

    \b
    Examples:
      distilwatch dlq replay --output duckdb:///out.duckdb            # would it be accepted now?
      distilwatch dlq replay --output duckdb:///out.duckdb \\
        --from kafka://broker:9092/requests --to kafka://broker:9092/requests
      distilwatch dlq replay --output duckdb:///out.duckdb --to detect \\
        --input history.jsonl --bundle bundle
    """
    from pipelines.console import Console
    from pipelines.dead_letters import replay as replaying
    from pipelines.dead_letters.raw import find_raw, topics_of
    from pipelines.dead_letters.table import (
        NEEDED,
        OPEN,
        REPLAYED,
        STILL_REFUSED,
        Which,
        read_letters,
        write_outcomes,
    )
    from pipelines.fetched import at_hand
    from pipelines.parts import decoder
    from transforms.ingest.sealing import letter_keys

    _check_target(target, inputs, bundle)
    with Console(as_json) as console:
        console.step("Check settings and tables")
        config = _config(config_path)
        which = Which(reasons, sources, statuses or (OPEN, STILL_REFUSED), runs)
        with at_hand(output, config, NEEDED) as path:
            letters = read_letters(path, which)
        late = 0
        if target is not None and target.startswith("kafka://"):
            letters, late = replaying.without_late(letters)
        if late:
            console.warn(
                f"{late:,} letters are left out: what was late is late again in a topic; "
                "--to detect takes them"
            )
        console.step(f"Try {len(letters):,} letters")
        keys = letter_keys(config.ingest.dead_letter_key_env)
        topics = topics_of([*origins, *([target] if target else [])])
        tried = replaying.sort_letters(find_raw(letters, keys, topics), decoder(config))
        replay_id, now = replaying.new_replay_id()
        if target is None:
            outcomes = [*tried.outcomes, *replaying.in_detect(tried.accepted)]
        else:
            console.step(f"Replay {len(tried.accepted):,} letters")
            sent = _send(target, tried.accepted, output, inputs, bundle, config, console)
            outcomes = [*tried.outcomes, *sent]
            with at_hand(output, config, NEEDED[1:], NEEDED[1:]) as path:
                write_outcomes(path, replay_id, now, outcomes)
        counts = replaying.counted(outcomes)
        done = "replayed" if target else "would be accepted"
        lines = [
            f"{len(letters):,} letters: {counts[REPLAYED]:,} {done}, "
            f"{counts[STILL_REFUSED]:,} still refused, {counts['gone']:,} gone."
        ]
        why = Counter(o.reason for o in outcomes if o.reason)
        lines += [f"  {n:,} {reason}" for reason, n in why.most_common(5)]
        data = {
            "replay_id": replay_id if target else None, "letters": len(letters),
            "late_left_out": late, **counts, "reasons": dict(why),
        }  # fmt: skip
        then = [f"distilwatch dlq list --output {output}"] if target else []
        console.result(data, lines, [target] if target and target != _DETECT else [], then)


@dlq.command()
@options.any_tables
@options.config_file
@options.as_json
def rekey(output: str, config_path: Path | None, as_json: bool) -> None:
    """Seal records under the newest key that an older one has sealed.

    Afterwards the older keys can be taken out of the variable of ingest.dead_letter_key_env.
    """
    from pipelines.console import Console
    from pipelines.dead_letters.table import NEEDED, reseal
    from pipelines.fetched import at_hand
    from schemas.errors import DistilwatchError
    from transforms.ingest.sealing import letter_keys

    with Console(as_json) as console:
        config = _config(config_path)
        keys = letter_keys(config.ingest.dead_letter_key_env)
        if keys is None:
            raise DistilwatchError(
                "no keys are configured", "ingest.dead_letter_key_env", "name their variable"
            )
        with at_hand(output, config, NEEDED, NEEDED[:1]) as path:
            anew, kept = reseal(path, keys)
        console.result(
            {"sealed_anew": anew, "kept": kept},
            [f"{anew:,} of {kept:,} kept records were sealed anew."],
        )


def _config(path: Path | None) -> Config:
    from pipelines.config import load_config

    return load_config(path)


def _check_target(target: str | None, inputs: tuple[str, ...], bundle: Path | None) -> None:
    from pipelines import preflight

    if target == _DETECT:
        if not inputs or bundle is None:
            raise click.UsageError(
                "--to detect needs --input, the events among which the letters belong, and --bundle"
            )
        for uri in inputs:
            preflight.check_input(uri)
        preflight.check_bundle(bundle)
        return
    if inputs or bundle is not None:
        raise click.UsageError("--input and --bundle go with --to detect only")
    if target is not None:
        if not target.startswith("kafka://") and not target.endswith(".jsonl"):
            raise click.UsageError("--to takes kafka://host:port/topic, a .jsonl file, or detect")
        preflight.check_event_target(target, "--to")


def _send(
    target: str,
    accepted: list[Found],
    output: str,
    inputs: tuple[str, ...],
    bundle: Path | None,
    config: Config,
    console: Console,
) -> list[Outcome]:
    from pipelines.dead_letters import replay as replaying

    if not accepted:
        return []
    if target.startswith("kafka://"):
        return replaying.to_topic(target, accepted)
    if target != _DETECT:
        console.warn(f"{target} holds prompts in the clear: remove it after use")
        return replaying.to_file(Path(target), accepted)
    from pipelines.detect import DetectOptions, detect

    assert bundle is not None
    batches = replaying.as_batches(accepted, config.ingest.batch_records)
    run = DetectOptions(
        inputs=list(inputs), bundle=bundle, outputs=[output], config=config, runner="direct",
        run_id=None, beam_args=[], letters=tuple(batches),
    )  # fmt: skip
    for line in detect(run, console).lines():
        console.note(line)
    return replaying.in_detect(accepted)
