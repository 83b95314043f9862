"""distilwatch tables"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from pipelines.commands import options
from pipelines.commands.groups import Group


def _moment(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter("write it like 2026-06-01T12:00:00Z") from None
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1e9)


@click.group(cls=Group, short_help="Ask, open, compact and clear up the tables.")
def tables() -> None:
    """Ask the tables, open Parquet files as a database, join small files, remove old rows.

    \b
    Example:
      distilwatch tables query --output duckdb:///out.duckdb "SELECT * FROM run_balance"
    """


@tables.command()
@options.any_tables
@click.argument("sql")
@options.config_file
@options.as_json
def query(output: str, sql: str, config_path: Path | None, as_json: bool) -> None:
    """Answer a query in SQL over tables and views, also while a run writes to them.

    In BigQuery the price is estimated first; the query does not begin where that is more than
    bigquery.max_cost_usd, and nothing but a query is taken.

    \b
    Example:
      distilwatch tables query --output parquet:///tables "SELECT * FROM changes_since_yesterday"
    """
    import json

    from pipelines.config import load_config
    from pipelines.console import Console
    from schemas.errors import DistilwatchError
    from transforms.sinks import scheme_of

    names: Sequence[str]
    price = ""
    config = load_config(config_path)
    if scheme_of(output) == "bigquery":
        from pipelines.asked import ask_dataset

        found = ask_dataset(output, sql, config)
        names, rows, price = found.names, found.rows, found.line()
    else:
        from pipelines.tables import check_tables
        from pipelines.upkeep import ask

        names, rows = ask(check_tables(output), sql)
    if as_json:
        if twice := sorted({name for name in names if list(names).count(name) > 1}):
            raise DistilwatchError(
                f"several columns are called {', '.join(twice)}, and JSON would keep one of them",
                "SQL",
                "give each a name of its own, with AS",
            )
        click.echo(json.dumps([dict(zip(names, row, strict=True)) for row in rows], default=str))
        return
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    shown = Table(*map(escape, names))  # what rich takes for markup may be in either
    for row in rows:
        shown.add_row(*(Text("" if value is None else str(value)) for value in row))
    with Console(False) as console:
        console.print(shown)
        if price:
            console.note(price)


@tables.command()
@options.tables
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write them there, for the textfile collector of node_exporter; otherwise they are "
    "printed.",
)
def metrics(output: str, file: Path | None) -> None:
    """Tell records, clusters, newest session and drift of any tables, in Prometheus' format.

    For cron, beside a run of any runner whose tables are a database or Parquet: the run's own
    metrics say nothing of drift.

    \b
    Example:
      distilwatch tables metrics --output duckdb:///out.duckdb --file /var/lib/node/dw.prom
    """
    from pipelines.observe.metrics import write_file
    from pipelines.observe.of_tables import table_metrics
    from pipelines.tables import check_tables
    from pipelines.upkeep import ask

    path = check_tables(output)
    text = table_metrics(lambda query: ask(path, query))
    if file is None:
        click.echo(text.decode(), nl=False)
    else:
        write_file(file, text, "--file")


@tables.command(name="open")
@options.tables
@click.option(
    "--into",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The DuckDB file to write; it holds views only.",
)
@click.option(
    "--as-of",
    callback=_moment,
    metavar="TIME",
    help="See only what was written by then, such as 2026-06-01T12:00:00Z.",
)
@click.option(
    "--snapshot",
    is_flag=True,
    help="See the files of this moment only, the same in all tables; good for tables.grace after "
    "they were joined.",
)
@options.as_json
def open_(output: str, into: Path, as_of: int | None, snapshot: bool, as_json: bool) -> None:
    """Make a folder of Parquet tables a DuckDB database, with the same tables and views.

    The file holds no rows. Many may read it at a time while runs go on writing to the folder, and
    see what is written by then. In the moment when files are removed that were joined a while ago,
    a query may say that one is missing: ask again.

    \b
    Example:
      distilwatch tables open --output parquet:///tables --into tables.duckdb
    """
    from pipelines.console import Console
    from pipelines.upkeep import open_as_database

    with Console(as_json) as console:
        written = open_as_database(output, into, as_of, not snapshot)
        console.result(
            {"database": str(written)},
            wrote=[str(written)],
            then=[f'duckdb -readonly {written} "SELECT * FROM run_balance"'],
        )


@tables.command()
@options.tables
@options.config_file
@options.as_json
def compact(output: str, config_path: Path | None, as_json: bool) -> None:
    """Join small Parquet files of a day, or make a database file anew and small.

    Safe while a run writes and others read, at any time and as often as you like. Files that were
    joined stay for tables.grace, and go the next time.

    \b
    Example:
      distilwatch tables compact --output parquet:///tables
    """
    from pipelines.config import load_config
    from pipelines.console import Console
    from pipelines.tables import check_tables
    from pipelines.upkeep import compact as run

    with Console(as_json) as console:
        config = load_config(config_path)
        check_tables(output)
        done = run(output, config.tables.grace / 1000)
        console.result(
            done.as_dict(),
            [
                f"{done.files_before:,} files of {done.bytes_before / 1e6:,.1f} MB before, "
                f"{done.files_after:,} of {done.bytes_after / 1e6:,.1f} MB after."
            ],
        )


@tables.command()
@options.tables
@options.config_file
@click.option("--dry-run", is_flag=True, help="Only count what would be removed.")
@options.as_json
def expire(output: str, config_path: Path | None, dry_run: bool, as_json: bool) -> None:
    """Remove rows that are older than the section `tables` of the settings keeps them.

    \b
    Example:
      distilwatch tables expire --output duckdb:///out.duckdb --dry-run
    """
    import time

    from pipelines.config import load_config
    from pipelines.console import Console
    from pipelines.upkeep import expire as run

    with Console(as_json) as console:
        config = load_config(config_path)

        def left(spool: str) -> None:
            console.note(f"A run that goes on has {spool}: what is in there was left alone")

        now_ms = time.time_ns() // 10**6
        removed: dict[str, Any] = run(output, config.tables, now_ms, dry_run, left)
        verb = "would be removed" if dry_run else "removed"
        lines = [f"{number:,} rows of {name} {verb}." for name, number in removed.items()]
        console.result({"removed": removed}, lines or [f"Nothing {verb}."])


_dataset = click.option(
    "--output",
    "output",
    required=True,
    metavar="URI",
    help="What `detect` wrote: bigquery://project/dataset",
)


@tables.command()
@_dataset
@click.option(
    "--into",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The DuckDB file; rows of the same key in it are replaced.",
)
@click.option(
    "--table",
    "names",
    multiple=True,
    metavar="NAME",
    help="Only this table. Repeat for several.",
)
@click.option(
    "--since",
    callback=_moment,
    metavar="TIME",
    help="Only rows from this time on, such as 2026-06-01; run_health is not cut by time.",
)
@options.config_file
@options.as_json
def fetch(
    output: str,
    into: Path,
    names: tuple[str, ...],
    since: int | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Copy tables out of BigQuery into a DuckDB file, for commands that read one.

    The price is estimated first; it does not begin where that is more than bigquery.max_cost_usd.

    \b
    Example:
      distilwatch tables fetch --output bigquery://my-project/distilwatch --into copy.duckdb
    """
    from pipelines.config import load_config
    from pipelines.console import Console
    from pipelines.fetched import fetch as run

    with Console(as_json) as console:
        config = load_config(config_path)
        console.step("Copy")
        done = run(output, into, config, names, None if since is None else since // 10**6)
        lines = [f"{number:>12,} rows of {name}" for name, number in done.rows.items()]
        lines.append(f"BigQuery read {done.size / 2**20:,.1f} MiB, about {done.usd:,.2f} USD.")
        console.result(
            done.as_dict(), lines, [str(into)], [f"distilwatch explain --output duckdb:///{into}"]
        )


@tables.command()
@_dataset
@click.option("--into", metavar="DATASET", help="Dataset of the views; without, "
              "bigquery.views_dataset of the settings, or that of the tables.")  # fmt: skip
@options.config_file
@options.as_json
def views(output: str, into: str | None, config_path: Path | None, as_json: bool) -> None:
    """Make the views in BigQuery, or make them anew, where Terraform does not.

    \b
    Example:
      distilwatch tables views --output bigquery://my-project/distilwatch --into distilwatch_views
    """
    from pipelines.config import load_config
    from pipelines.console import Console
    from pipelines.upkeep import make_bigquery_views

    with Console(as_json) as console:
        made = make_bigquery_views(output, into or "", load_config(config_path))
        console.result({"views": made}, [f"{len(made)} views are in place."])
