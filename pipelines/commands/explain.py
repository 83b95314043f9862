"""distilwatch explain"""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.commands import options


@click.command(short_help="Tell in the terminal why a cluster was flagged.")
@click.argument("cluster_id", required=False)
@options.tables
@options.labels
@options.as_json
def explain(cluster_id: str | None, output: str, labels: Path | None, as_json: bool) -> None:
    """Tell why CLUSTER_ID was flagged: what happened, reasons, members and links.

    The first letters of an id are enough where they fit one cluster. Without an id, all flagged
    clusters are listed.

    \b
    Example:
      distilwatch explain c-8d1f --output duckdb:///out.duckdb
    """
    import json
    from dataclasses import asdict

    from pipelines import preflight
    from pipelines.console import Console, as_called
    from pipelines.report import terminal
    from pipelines.report.read import find_cluster, read_story
    from pipelines.tables import check_tables

    path = check_tables(output)
    if labels is not None:
        preflight.check_labels(labels)
    with Console(as_json) as console:
        story = read_story(path, labels)
        if cluster_id is None:
            if as_json:
                click.echo(json.dumps([asdict(c) for c in story.clusters]))
                return
            console.print(story.headline())
            if story.clusters:
                for part in terminal.clusters_list(story):
                    console.print(part)
                then = as_called(f"distilwatch explain CLUSTER_ID --output {output}")
                click.echo(f"\nNext:\n  {then}")
            return
        cluster = find_cluster(story, cluster_id)
        if as_json:
            click.echo(json.dumps(asdict(cluster)))
        else:
            for part in terminal.cluster_story(cluster):
                console.print(part)
