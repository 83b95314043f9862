"""Options that several commands share, under the same names and with the same meaning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object and nothing else."
)
config_file = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings, YAML; `distilwatch config show` prints them all. Defaults without.",
)
inputs = click.option(
    "--input",
    "inputs",
    multiple=True,
    required=True,
    metavar="URI",
    help="Events: a file (.jsonl, .jsonl.gz; a pattern in quotes), kafka://host:port/topic, or "
    "bigquery://project/dataset/table. Repeat for several.",
)
input_format = click.option(
    "--input-format",
    type=click.Choice(["events", "otlp", "litellm", "kong"]),
    help="What records are: events of docs/contracts.md; OpenTelemetry spans; LiteLLM's or Kong's "
    "logs. Instead of ingest.format in the settings.",
)
outputs = click.option(
    "--output",
    "outputs",
    multiple=True,
    required=True,
    metavar="URI",
    help="Where results go: duckdb:///file.duckdb, parquet:///folder, bigquery://project/dataset, "
    "or kafka://host:port/topic for alerts. Repeat for several.",
)
tables = click.option(
    "--output",
    "output",
    required=True,
    metavar="URI",
    help="What `detect` wrote: duckdb:///file.duckdb or parquet:///folder",
)
any_tables = click.option(
    "--output",
    "output",
    required=True,
    metavar="URI",
    help="What `detect` wrote: duckdb:///file.duckdb, parquet:///folder, or "
    "bigquery://project/dataset",
)
decided_tables = click.option(
    "--output",
    "output",
    required=True,
    metavar="URI",
    help="What `detect` wrote: duckdb:///file.duckdb or bigquery://project/dataset",
)
labels = click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also say what the truth was, from labels that `simulate` writes.",
)
runner = click.option(
    "--runner",
    type=click.Choice(["direct"]),
    default="direct",
    show_default=True,
    help="Beam runner: in this process.",
)
any_runner = click.option(
    "--runner",
    type=click.Choice(["direct", "prism", "flink", "dataflow"]),
    default=None,
    help="Beam runner: direct, in this process; prism, for an input without an end; flink, a "
    "cluster; or dataflow, Google's service. By default prism where an input has no end, direct "
    "otherwise.",
)
flink_master = click.option(
    "--flink-master",
    metavar="HOST:PORT",
    help="With --runner flink: the job manager's REST interface; or flink.master in the settings.",
)
beam_args = click.argument("beam_args", nargs=-1, type=click.UNPROCESSED, metavar="[-- BEAM…]")


def settings(form: str | None, flink_master: str | None = None) -> dict[str, Any]:
    """What --input-format and --flink-master say, as settings that win over the file."""
    given = {"ingest.format": form, "flink.master": flink_master}
    return {name: value for name, value in given.items() if value is not None}


def bundle(meaning: str) -> Callable[[F], F]:
    """The option --bundle."""
    return click.option(
        "--bundle",
        required=True,
        type=click.Path(path_type=Path),
        metavar="DIR",
        help=meaning,
    )
