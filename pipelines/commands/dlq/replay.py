"""distilwatch dlq replay"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines.commands import options
from pipelines.commands.dlq.which import selection

if TYPE_CHECKING:
    from pipelines.config import Config
    from pipelines.console import Console
    from pipelines.dead_letters.raw import Found
    from pipelines.dead_letters.table import Outcome

_DETECT = "detect"


@click.command()
@options.any_tables
@selection("Letters of this status; by default open and still_refused. Repeatable.")
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
    from pipelines.config import load_config
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
        config = load_config(config_path)
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
        wrote = [target] if target and target != _DETECT and counts[REPLAYED] else []
        console.result(data, lines, wrote, then)


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
