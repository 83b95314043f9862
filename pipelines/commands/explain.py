"""distilwatch explain"""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.commands import options

_LISTED = 20


@click.command(short_help="Tell in the terminal why a cluster was flagged.")
@click.argument("cluster_id", required=False)
@options.tables
@options.labels
@click.option("--all", "everything", is_flag=True, help="List all clusters, not the 20 gravest.")
@options.as_json
def explain(
    cluster_id: str | None, output: str, labels: Path | None, everything: bool, as_json: bool
) -> None:
    """Tell why CLUSTER_ID was flagged: what happened, reasons, members and links.

    The first letters of an id are enough where they fit one cluster. Without an id, the flagged
    clusters are listed, the gravest first.

    \b
    Examples:
      distilwatch explain --output duckdb:///out.duckdb
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
                for part in terminal.clusters_list(story, None if everything else _LISTED):
                    console.print(part)
                then = [f"distilwatch explain {story.clusters[0].cluster_id} --output {output}"]
                if len(story.clusters) > _LISTED and not everything:
                    then.append(f"distilwatch explain --all --output {output}")
                click.echo("\nNext:")
                for command in then:
                    click.echo(f"  {as_called(command)}")
            return
        cluster = find_cluster(story, cluster_id)
        if as_json:
            click.echo(json.dumps(asdict(cluster)))
        else:
            for part in terminal.cluster_story(cluster):
                console.print(part)
