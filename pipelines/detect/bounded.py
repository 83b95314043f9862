"""Runs `detect` over input that ends: in this process, the tables are written when all is done."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.console import Console
from pipelines.detect.build import build
from pipelines.detect.plan import DetectSummary, Plan
from pipelines.observe.watcher import told_at_the_end
from pipelines.oncall import on_call
from pipelines.parts import bigquery_options, embedded_pipeline
from schemas.tables import TABLES
from transforms.alerts.sender import Sent
from transforms.sinks import duckdb_path, scheme_of
from transforms.sinks.delivery import Delivery
from transforms.sinks.duckdb import write_database
from transforms.sinks.newest import newest
from transforms.sinks.parquet import parquet_folder, write_parquet
from transforms.sinks.staging import staged, staged_count
from transforms.spans import span

_LAST_TRIES_S = 20.0
_PATIENCE_S = 120.0


def run_to_the_end(plan: Plan, console: Console) -> DetectSummary:
    """Runs a plan on Beam's embedded runner.

    Raises:
      DistilwatchError: when input or output cannot be used.
    """
    options, run = plan.options, plan.config.run
    with (
        span("run", bundle=plan.bundle_version) as about,
        tempfile.TemporaryDirectory(prefix="distilwatch-detect-", dir=run.tmp) as folder,
    ):
        console.step("Score sessions, profiles and clusters")
        if plan.backfill is not None:
            console.note(plan.backfill.words())
        here = embedded_pipeline(plan.runner, options.beam_args, run.parallelism)
        with span("score"), _collector_spared(), here as pipeline:
            build(pipeline, plan, folder)
        console.step("Write the tables")
        # Tables first: an alert must not speak of what cannot be looked up.
        delivered: dict[str, Delivery] = {}
        for uri in sorted(options.outputs, key=lambda uri: uri.startswith("kafka:")):
            if uri.startswith("kafka:") and not options.alerts:
                console.note(f"No alerts of the past go to {uri}; --send-alerts sends them")
                continue
            with span("write", output=scheme_of(uri)):
                delivered |= _write(uri, plan, folder)
        rows = {name: staged_count(folder, name) for name in TABLES}
        rows["alerts"], sent = _tell(plan, console, folder) if options.alerts else (0, Sent())
        health = {row["metric"]: row["value"] for row in staged(folder, "run_health").to_pylist()}
        about["records"] = health.get("read", 0)
    told_at_the_end(plan, health, rows)
    return DetectSummary(
        plan.run_id,
        plan.bundle_version,
        health,
        rows,
        delivered=delivered,
        waiting=sent.waiting,
        dead=sent.dead,
    )


@contextmanager
def _collector_spared() -> Iterator[None]:
    """Lets the garbage collector pass over what is loaded by now, which is there to stay: a run
    makes so many objects that it looks at all of them again and again."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _tell(plan: Plan, console: Console, folder: str) -> tuple[int, Sent]:
    """Lets alerts live, and sends what is to be sent; returns how many steps they made, and what
    became of the messages."""
    with on_call(plan.config, plan.options.outputs, plan.run_id, console.warn) as both:
        if both is None:
            return 0, Sent()
        desk, sender = both
        console.step("Tell who is on call")
        with span("look for alerts"):
            desk.look(staged(folder, "flagged_clusters"), staged(folder, "cluster_members"))
        return desk.steps, sender.send_until(_LAST_TRIES_S)


def _write(uri: str, plan: Plan, folder: str) -> dict[str, Delivery]:
    """Writes what was staged; returns what the output says of its arrival, if it says anything."""
    if uri.startswith("bigquery:"):
        from transforms.sinks.bigquery.write import BigQuerySink

        sink = BigQuerySink(uri, plan.run_id, bigquery_options(plan.config))
        sink.write({name: newest(table, staged(folder, name)) for name, table in TABLES.items()})
        return {sink.connection.uri.place: sink.total}
    if uri.startswith("duckdb:"):
        # A live job, or who looks at cases, has the file open now and then.
        write_database(duckdb_path(uri), folder, _PATIENCE_S)
    elif uri.startswith("parquet:"):
        write_parquet(parquet_folder(uri), plan.run_id, folder)
    else:
        from transforms.sinks.kafka import send_rows

        send_rows(uri, staged(folder, "flagged_clusters").to_pylist())
    return {}
