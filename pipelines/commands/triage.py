"""distilwatch triage"""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.commands import options
from pipelines.commands.groups import Group

_tables = click.option(
    "--output",
    "output",
    required=True,
    metavar="URI",
    help="What `detect` wrote: duckdb:///file.duckdb or bigquery://project/dataset",
)


@click.group(
    cls=Group,
    invoke_without_command=True,
    short_help="Look at flagged clusters in a browser, and decide.",
)
@click.option("--output", metavar="URI", help="What `detect` wrote: duckdb:///file.duckdb or "
              "bigquery://project/dataset")  # fmt: skip
@click.option(
    "--host", default="127.0.0.1", show_default=True, metavar="HOST", help="Address to listen at."
)
@click.option(
    "--port",
    metavar="PORT",
    type=click.IntRange(0, 65_535),
    default=8350,
    show_default=True,
    help="Port; 0 takes a free one.",
)
@options.config_file
@click.pass_context
def triage(
    context: click.Context, output: str | None, host: str, port: int, config_path: Path | None
) -> None:
    """Serve a queue of flagged clusters, a page for each, and a place to decide.

    By default for whoever is on this machine, at a loopback address. Settings under `triage` open
    it to others: sign-in with OpenID Connect or by a trusted proxy, and who has which role.

    \b
    Examples:
      distilwatch triage --output duckdb:///out.duckdb
      distilwatch triage export c-8d1f --output duckdb:///out.duckdb --html case.html
    """
    if context.invoked_subcommand is not None:
        if output is not None or config_path is not None:
            name = context.invoked_subcommand
            raise click.UsageError(f"Give --output and --config after {name}.", context)
        return
    if output is None:
        raise click.UsageError("Missing option '--output'.", context)

    from pipelines.config import load_config
    from pipelines.console import Console
    from pipelines.triage.server import serve

    config, console = load_config(config_path), Console(plain=True)
    console.log_as(config.observe.log_format)

    def ready(address: str, log: Path) -> None:
        click.echo(f"Triage is at {address}\nWho did what is noted in {log}")
        if config.triage.sign_in == "local":
            click.echo("Whoever is on this machine is admin there. Ctrl-C ends it.")

    serve(output, config, host, port, ready, console.warn)


@triage.command()
@click.argument("cluster_id")
@_tables
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the case as one HTML file that needs nothing else.",
)
@click.option(
    "--pdf",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write it as PDF, which an installed Chromium or Chrome prints.",
)
@options.config_file
@options.as_json
def export(
    cluster_id: str,
    output: str,
    html: Path | None,
    pdf: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Write the case of CLUSTER_ID as a file to attach to a report.

    The first letters of an id are enough where they fit one cluster.

    \b
    Example:
      distilwatch triage export c-8d1f --output duckdb:///out.duckdb --html case.html
    """
    if html is None and pdf is None:
        raise click.UsageError("Give --html, --pdf, or both.")

    from pipelines.config import load_config
    from pipelines.console import Console
    from pipelines.oncall import rules_of
    from pipelines.triage.export import find_case, write_case
    from pipelines.triage.house import House
    from pipelines.triage.store import open_store

    with Console(as_json) as console:
        config = load_config(config_path)
        house = House(rules_of(config.alerts))
        store = open_store(output)
        console.step("Write the case")
        case = find_case(store, cluster_id, house, config.triage.public_url)
        written = [str(path) for path in write_case(case, store.name, html, pdf)]
        name = case.told.cluster.cluster_id
        console.result({"cluster_id": name}, wrote=written, then=["treat it as customer data"])
