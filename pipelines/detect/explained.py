"""What a run would do, in words: read where, cut how, remember what, write where, at what cost."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.detect.plan import Plan
from pipelines.durations import format_duration as told
from pipelines.parts import discovery_rates
from transforms.ingest.formats import defaults_of
from transforms.sinks import scheme_of

# As measured: docs/performance.md, and `python -m bench.memory`.
MOST_SKETCH_BYTES = 58_840
EVENTS_A_SECOND = 1_700
START_S = 5
_EVENT_BYTES = 900  # of an event in JSON with its text

_TABLES = {
    "duckdb": "all tables, by key and revision, so that a second run changes nothing",
    "parquet": "all tables, a folder for each day; readers see whole commits only",
    "bigquery": "all tables, staged and merged by key",
    "kafka": "alerts only, one for each severity of a cluster",
}


@dataclass(frozen=True)
class Section:
    """A part of the explanation."""

    title: str
    lines: tuple[str, ...]


def explain(plan: Plan, costs: Sequence[str] = ()) -> list[Section]:
    """The plan in words; reads offsets and sizes, and nothing else.

    Args:
      plan: of `make_plan`.
      costs: of reading, where that costs something.

    Raises:
      DistilwatchError: a broker does not answer, or no file is there any more.
    """
    counted = [_source(uri) for uri in plan.options.inputs]
    total = sum(n for n, _ in counted if n)
    return [
        Section("Run", tuple(_run(plan))),
        Section("Sources", tuple(line for _, line in counted) + tuple(_ingest(plan))),
        Section("Windows", tuple(_windows(plan))),
        Section("State per key", tuple(_state(plan))),
        Section("Flagged", tuple(_flagged(plan))),
        Section("Sinks", tuple(_sinks(plan))),
        Section("Cost", tuple(_cost(plan, total, costs))),
    ]


def as_dict(sections: Sequence[Section]) -> dict[str, Any]:
    """For machines."""
    return {section.title.lower().replace(" ", "_"): list(section.lines) for section in sections}


def _run(plan: Plan) -> Iterator[str]:
    runner = {
        "direct": "in this process, by Beam's embedded runner",
        "prism": "in this machine, by Prism",
        "flink": f"by the Flink cluster at {plan.config.flink.master}",
        "dataflow": "by Dataflow",
    }[plan.runner]
    until = "without an end, until it is stopped" if plan.endless else "until its input ends"
    if plan.options.duration_ms:
        until = f"for {told(plan.options.duration_ms)}"
    yield f"{plan.run_id}: {runner}, {until}."
    if plan.runner == "direct":
        n = plan.config.run.parallelism
        yield f"{n} worker process{'' if n == 1 else 'es'} (run.parallelism)."
    watched = ", which is watched for a new one" if plan.store is not None else ""
    yield f"Bundle {plan.bundle_version}{watched}; its signature is verified."
    if plan.backfill is not None:
        alerts = "sent" if plan.options.alerts else "not sent"
        yield f"A backfill: only what happened in the span counts, and alerts are {alerts}."


def _source(uri: str) -> tuple[int | None, str]:
    """How many records there are, and the source in words."""
    scheme = scheme_of(uri)
    if scheme == "kafka":
        from transforms.ingest.kafka import parse_kafka_uri, spans

        topic = parse_kafka_uri(uri)
        found = spans(topic).values()
        n = sum(end - start for start, end in found)
        end = "up to the end that it has at the start" if topic.bounded else "and on from there"
        start = topic.start if isinstance(topic.start, str) else "a time"
        return n, (f"{topic.place}: {len(found)} partitions from {start}, {n:,} records {end}.")
    if scheme == "bigquery":
        return None, f"{uri}: rows of a table."
    from transforms.ingest.files import find_files

    paths = find_files(uri)
    sizes = [os.path.getsize(path) * (6 if path.endswith(".gz") else 1) for path in paths]
    size, about = sum(map(os.path.getsize, paths)), sum(sizes) // _EVENT_BYTES
    files = f"{len(paths)} file{'' if len(paths) == 1 else 's'}"
    return about, f"{uri}: {files}, {size / 1e6:,.1f} MB, some {about:,} events."


def _ingest(plan: Plan) -> Iterator[str]:
    ingest, embedding = plan.config.ingest, plan.config.embedding
    if ingest.format == "events":
        yield "Records are events of contract 1 (docs/contracts.md)."
    else:
        places = defaults_of(ingest.format) | ingest.fields
        named = "; ".join(
            f"{field} from {' or '.join(places[field])}"
            for field in ("account_id", "payment_fingerprint")
        )
        yield f"Records are {ingest.format}'s: {named}."
    if embedding.kind == "hashing":
        yield "Events without a vector are embedded here from their text, which is then dropped."
    else:
        yield f"Vectors of {embedding.model} ({embedding.dim}) are taken from the events."
    sealed = ingest.dead_letter_key_env
    how = f"sealed with ${sealed}" if sealed else "by place and hash only"
    yield f"What cannot be read becomes a dead letter, kept {how}."


def _windows(plan: Plan) -> Iterator[str]:
    sessions, ingest, profiles = plan.config.sessions, plan.config.ingest, plan.config.profiles
    yield (
        f"A session of an account or a payment ends with a pause of {told(sessions.gap_ms)}, or "
        f"after {told(sessions.max_length_ms)}."
    )
    yield f"An account's profile spans {told(profiles.window_ms)}, in windows that do not overlap."
    if plan.endless:
        yield (
            f"Events are summed up in slices of {told(sessions.slice_ms)} first. "
            f"What is open is scored anew every {told(sessions.early_firing_ms)}. Time goes on "
            f"{told(ingest.watermark_lag_ms)} behind the events; later than "
            f"{told(ingest.allowed_lateness_ms)} behind that, they are refused as late. A "
            f"partition that is silent for {told(ingest.idle_after_ms)} holds nobody up."
        )
    yield f"A repeated event is known within {told(ingest.dedupe_horizon_ms)} of its first time."


def _state(plan: Plan) -> Iterator[str]:
    most = MOST_SKETCH_BYTES / 1024
    yield (
        f"Each account and each payment has one sketch of at most {most:,.0f} KiB a session, "
        "however many its requests are, and each account one more for its profile; quiet keys "
        "have a few KiB."
    )
    where = {
        "direct": "In this process's memory until the input ends.",
        "prism": "In Prism's memory; a restart reads again what was not committed.",
        "flink": "In the cluster's state backend, and in its checkpoints.",
        "dataflow": "In Dataflow's own storage.",
    }
    yield where[plan.runner]
    keys = int(plan.bundle.load().training.get("accounts", 0))
    most_mib = 3 * keys * MOST_SKETCH_BYTES / (1 << 20)
    yield (
        f"Three of the largest for each of the history's {keys:,} accounts would be "
        f"{most_mib:,.0f} MiB; an account with more payments or open sessions has more of them."
    )


def _flagged(plan: Plan) -> Iterator[str]:
    alerts = plan.config.alerts
    said = f"A cluster or account with a p-value of at most {plan.policy.max_p:.2g}"
    if plan.budget is not None:
        said += (
            f": what {alerts.pages_per_day:g} alerts a day by chance leave of alerts.max_p, "
            f"{alerts.max_p:g}"
        )
    yield said + "."
    if alerts.control != "budget":
        rate = alerts.false_discovery_rate
        yield f"Of those, so many that {rate:.0%} at most are false discoveries."
        if sources := discovery_rates(plan.config).sources:
            names = ", ".join(f"{name} {share / rate:.0%}" for name, share in sources)
            yield f"Of these, for clusters that other labs report: {names}."


def _sinks(plan: Plan) -> Iterator[str]:
    every = plan.config.run.commit_every_ms
    for uri in plan.options.outputs:
        scheme = scheme_of(uri)
        yield f"{uri.split('?')[0]}: {_TABLES.get(scheme, 'rows')}."
        if plan.endless and scheme == "bigquery":
            every = max(every, plan.config.bigquery.commit_every)
    if plan.endless:
        yield f"Results are committed every {told(every)}, all outputs together."
    else:
        yield "Results are written when all input was read, all or nothing for each output."


def _cost(plan: Plan, records: int, costs: Sequence[str]) -> Iterator[str]:
    yield from costs
    if plan.runner in ("direct", "prism") and records and not plan.endless:
        cores = plan.config.run.parallelism if plan.runner == "direct" else 1
        seconds = START_S + records / EVENTS_A_SECOND / cores
        yield (
            f"Some {records:,} events take about {told(max(1, round(seconds)) * 1000)} with their "
            "text (docs/performance.md has what was measured, and where)."
        )
    if any(uri.startswith("bigquery:") for uri in plan.options.outputs):
        yield (
            "BigQuery: storage, and merges that scan the days that changed; load jobs are free, "
            "the Storage Write API is charged by volume (docs/bigquery.md)."
        )
    if plan.runner == "dataflow":
        yield "Dataflow: workers by the hour until the job is drained (docs/dataflow.md)."
    if not costs and plan.runner in ("direct", "prism", "flink"):
        yield (
            "Nothing is called that charges by use."
            if not any(uri.startswith("bigquery:") for uri in plan.options.outputs)
            else "Reading costs nothing."
        )
