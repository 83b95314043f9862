"""distilwatch detect"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines.commands import options
from pipelines.durations import HOW, parse_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipelines.console import Console
    from pipelines.detect import DetectOptions, DetectSummary

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def _run_id(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _RUN_ID.fullmatch(value):
        raise click.BadParameter("use up to 64 letters, digits, '.', '-' and '_'")
    return value


def _length(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        found = parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}; {HOW}") from None
    if not found:
        raise click.BadParameter("must be more than nothing")
    return found


def _moment(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter("write a time as 2026-06-01T12:00:00Z") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _tell(asked: DetectOptions, costs: Sequence[str], console: Console) -> None:
    """The plan in words."""
    import textwrap

    from pipelines.detect import make_plan
    from pipelines.detect.explained import as_dict, explain

    plan = make_plan(asked)
    sections = explain(plan, costs)
    lines = []
    for section in sections:
        lines += ["", section.title]
        for line in section.lines:
            lines += textwrap.wrap(line, 96, initial_indent="  ", subsequent_indent="    ")
    lines += ["", "Nothing was run or written. Without --dry-run, this would be done."]
    told = {"dry_run": True, "run_id": plan.run_id, "plan": as_dict(sections)}
    console.result(told | {"warnings": list(plan.warnings)}, lines)


def _with(config: Path | None) -> str:
    return "" if config is None else f" --config {config}"


def _next(uri: str, summary: DetectSummary, config: Path | None) -> list[str]:
    """What to do with a database."""
    then = []
    if summary.dead:
        then.append(f"distilwatch alerts outbox list --state dead --output {uri}{_with(config)}")
    if summary.waiting:
        then.append(f"distilwatch alerts send --output {uri}{_with(config)}")
    if summary.health.get("refused"):
        then.append(f"distilwatch dlq list --output {uri}")
    if summary.rows.get("flagged_clusters"):
        then += [
            f"distilwatch explain --output {uri}",
            f"distilwatch report --output {uri} --html report.html",
            f"distilwatch triage --output {uri}",
        ]
    return then


@click.command(short_help="Score requests and write the flagged clusters.")
@options.inputs
@options.input_format
@options.bundle("Bundle that `train` wrote; verified before it is used.")
@options.outputs
@options.config_file
@options.any_runner
@options.flink_master
@click.option(
    "--from-savepoint",
    "savepoint",
    metavar="URI",
    help="With --runner flink: go on from a savepoint or a kept checkpoint of an endless run; give "
    "the --run-id of that run, too.",
)
@click.option(
    "--for",
    "for_ms",
    callback=_length,
    metavar="TIME",
    help="How long to read an endless topic, such as '10 min'; until stopped without.",
)
@click.option(
    "--from",
    "from_ms",
    callback=_moment,
    metavar="TIME",
    help="Backfill: score what happened from then on, such as 2026-06-01 or 2026-06-01T12:00:00Z. "
    "Alerts are not sent for the past.",
)
@click.option("--to", "to_ms", callback=_moment, metavar="TIME", help="Backfill: score up to then.")
@click.option("--send-alerts", is_flag=True, help="Send the alerts of a backfill, too.")
@click.option(
    "--run-id",
    callback=_run_id,
    metavar="NAME",
    help="Name of this run in the table run_health; by default made from input, bundle and "
    "settings, so that a repeated run replaces its own rows.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check everything, explain in words what would be done, and leave.",
)
@options.as_json
@options.beam_args
def detect(
    inputs: tuple[str, ...],
    input_format: str | None,
    bundle: Path,
    outputs: tuple[str, ...],
    config_path: Path | None,
    runner: str | None,
    flink_master: str | None,
    savepoint: str | None,
    for_ms: int | None,
    from_ms: int | None,
    to_ms: int | None,
    send_alerts: bool,
    run_id: str | None,
    dry_run: bool,
    as_json: bool,
    beam_args: tuple[str, ...],
) -> int:
    """Score requests with a bundle, link accounts, and write the flagged clusters.

    A Kafka topic is read up to the end offsets that it has at the start; with ?bounded=false it is
    read on until Ctrl-C, and results are written every few seconds. Running again over the same
    events changes nothing: rows are kept by id and revision. Beam's own options may follow after
    `--`.

    The exit code is 2, too, when the tables are written but somebody on call could not be told:
    what waits goes with the next `distilwatch alerts send`, what was given up after `distilwatch
    alerts outbox replay`. After Ctrl-C it is 130 in any case.

    \b
    Examples:
      distilwatch detect --input live.jsonl --bundle bundle --output duckdb:///out.duckdb
      distilwatch detect --input kafka://127.0.0.1:9092/requests --bundle bundle \\
        --output duckdb:///out.duckdb --output kafka://127.0.0.1:9092/alerts
      distilwatch detect --input 'kafka://127.0.0.1:9092/requests?bounded=false' \\
        --bundle bundle --output duckdb:///out.duckdb --for '10 min'
      distilwatch detect --input 'kafka://127.0.0.1:9092/requests?bounded=false' \\
        --bundle bundle --output duckdb:///out.duckdb --runner flink \\
        --flink-master 127.0.0.1:8081 --run-id main
      distilwatch detect --input log.jsonl --input-format litellm --bundle bundle \\
        --output duckdb:///out.duckdb --dry-run
      distilwatch detect --input kafka://127.0.0.1:9092/requests --bundle bundle \\
        --output duckdb:///out.duckdb --from 2026-06-01 --to 2026-06-08
      distilwatch detect --input 'kafka://broker:9092/requests?bounded=false' \\
        --bundle bundle --output bigquery://project/dataset --runner dataflow \\
        --config settings.yaml --run-id main
    """
    from pipelines import preflight
    from pipelines.config import load_config
    from pipelines.console import Console

    past = from_ms is not None or to_ms is not None
    with Console(as_json) as console:
        look = preflight.Preflight()
        given = options.settings(input_format, flink_master)
        config = look.check(lambda: load_config(config_path, given))
        if config is not None:
            console.log_as(config.observe.log_format)
        console.step("Check settings, inputs, bundle and outputs")
        for uri in inputs:
            look.check(partial(preflight.check_input, uri, endless=True, far=runner == "dataflow"))
        look.check(lambda: preflight.check_bundle(bundle))
        for uri in outputs:
            look.check(partial(preflight.check_output, uri, inputs, patient=past))
        look.check(lambda: preflight.check_beam_args(beam_args))
        if config is not None:
            look.check(lambda: preflight.check_scratch(config))
            look.check(lambda: preflight.check_metrics_file(config))
            look.check(lambda: preflight.check_watch_list(config))
            costs = look.check(lambda: preflight.check_reading_cost(config, inputs))
            look.check(lambda: preflight.check_known_texts(config))
            look.check(lambda: preflight.check_on_call(config))
            if runner == "dataflow":  # what follows looks for keys
                from pipelines.dataflow.secrets import into_environment

                look.check(lambda: into_environment(config.dataflow.secrets))
            look.check(lambda: preflight.check_registry(config))
            look.check(lambda: preflight.check_format(config, inputs))
            look.check(lambda: preflight.check_letter_keys(config))
        look.check(lambda: preflight.check_runner(runner, inputs, for_ms, beam_args))
        look.check(lambda: preflight.check_span(inputs, from_ms, to_ms, send_alerts))
        look.check(lambda: preflight.check_flink(runner, config, inputs, savepoint, flink_master))
        if runner == "dataflow":
            from pipelines.dataflow.checks import check_command

            look.check(lambda: check_command(config, inputs, outputs, for_ms, beam_args))
        look.finish()
        assert config is not None  # finish() would have raised
        for cost in costs or ():
            console.note(cost.line())
        for uri in inputs:
            if strange := preflight.strange_records(config, uri):
                console.warn(str(strange))

        from pipelines.detect import DetectOptions
        from pipelines.detect import detect as run

        asked = DetectOptions(
            inputs=list(inputs),
            bundle=bundle,
            outputs=list(outputs),
            config=config,
            runner=runner,
            run_id=run_id,
            beam_args=list(beam_args),
            duration_ms=for_ms,
            savepoint=savepoint,
            from_ms=from_ms,
            to_ms=to_ms,
            alerts=send_alerts or not past,
        )
        if dry_run:
            _tell(asked, [cost.line() for cost in costs or ()], console)
            return 0
        summary = run(asked, console)
        kept = (uri for uri in outputs if uri.startswith("duckdb:"))
        then = next((_next(uri, summary, config_path) for uri in kept), [])
        if summary.savepoint:
            then.append(
                f"distilwatch detect … --runner flink --run-id {summary.run_id} "
                f"--from-savepoint {summary.savepoint}"
            )
        wrote = outputs if summary.complete else ()
        console.result(summary.as_dict(), summary.lines(), wrote, then if wrote else ())
    if summary.interrupted:
        return 130
    told = not summary.waiting and not summary.dead
    return 0 if summary.complete and told else 2
