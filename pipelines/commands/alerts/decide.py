"""distilwatch alerts decide, undo and history"""

from __future__ import annotations

import click

from pipelines.commands import options

_AS = ("confirm", "dismiss", "permitted", "watch", "split", "merge")
_by = click.option("--by", metavar="NAME", help="Who decides; by default the user of this machine.")
_why = click.option(
    "--why",
    required=True,
    metavar="TEXT",
    help="Why, in a few words; for ever. It is sent to the channels: name no customer.",
)


@click.command(short_help="Say what a cluster is.")
@click.argument("cluster_id")
@options.decided_tables
@click.option("--as", "decision", type=click.Choice(_AS), required=True, help="What it is.")
@_why
@click.option(
    "--until",
    metavar="TIME",
    help="Until when it holds: a day, to its end, or a time from now such as '30 d'. By default 90 "
    "days for dismiss, 14 for watch, for ever for confirm; permitted needs one.",
)
@_by
@click.option(
    "--accounts", metavar="A,B", help="Of a split: accounts that do not belong with the rest."
)
@click.option("--with", "others", metavar="C,D", help="Of a merge: clusters of the same campaign.")
@options.as_json
def decide(
    cluster_id: str,
    output: str,
    decision: str,
    why: str,
    until: str | None,
    by: str | None,
    accounts: str | None,
    others: str | None,
    as_json: bool,
) -> None:
    """Say what CLUSTER_ID is; the first letters are enough where they fit one.

    confirm: it is distillation. dismiss: it is not, and stays quiet. permitted: it may do that, and
    stays quiet. watch: nobody knows yet; tell only when it gets worse. split: some of its accounts
    do not belong with it. merge: other clusters are the same campaign. A cluster that was dismissed
    or permitted alerts again once it has grown by a good part.

    \b
    Example:
      distilwatch alerts decide c-8d1f --as dismiss --why "load test of team Nile" \\
        --until "30 d" --output duckdb:///out.duckdb
    """
    from pipelines.console import Console
    from pipelines.decisions import decide_cluster, told

    with Console(as_json) as console:
        made = decide_cluster(
            output, cluster_id, decision, why, until, by, _split(accounts), _split(others)
        )
        console.result(
            {"disposition": made.row()},
            [told(made)],
            [output],
            [f"distilwatch alerts undo {made.disposition_id} --why … --output {output}"],
        )


@click.command(short_help="Take a decision back.")
@click.argument("disposition_id")
@options.decided_tables
@_why
@_by
@options.as_json
def undo(disposition_id: str, output: str, why: str, by: str | None, as_json: bool) -> None:
    """Take the decision DISPOSITION_ID back, as if it had not been made.

    The row stays, and one that takes it back is added.

    \b
    Example:
      distilwatch alerts undo d-41d2 --why "wrong cluster" --output duckdb:///out.duckdb
    """
    from pipelines.console import Console
    from pipelines.decisions import told, undo_decision

    with Console(as_json) as console:
        row = undo_decision(output, disposition_id, why, by)
        console.result({"disposition": row.row()}, [told(row)], [output])


@click.command(short_help="List what was decided about a cluster.")
@click.argument("cluster_id")
@options.decided_tables
@options.as_json
def history(cluster_id: str, output: str, as_json: bool) -> None:
    """List what was decided about CLUSTER_ID, oldest first, with what was taken back.

    \b
    Example:
      distilwatch alerts history c-8d1f --output duckdb:///out.duckdb
    """
    from pipelines.console import Console
    from pipelines.decisions import decisions_on, told

    with Console(as_json) as console:
        rows = decisions_on(output, cluster_id)
        lines = [told(row) for row in rows] or ["Nothing was decided about it."]
        console.result({"dispositions": [row.row() for row in rows]}, lines)


def _split(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]
