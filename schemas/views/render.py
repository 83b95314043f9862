"""Renders views for DuckDB and BigQuery; needs sqlglot, which only those who change them need.

sqlglot knows the differences between the dialects, save those about days: a day of ours is always
UTC's, whatever time zone a reader's session has.
"""

from __future__ import annotations

import sqlglot
from sqlglot import exp

from schemas.model import quoted, sql_text
from schemas.views import NAMES
from schemas.views.source import View

_DATASET = "${dataset}"
_VIEWS = "${views}"


def duckdb_sql(view: View) -> str:
    """Statements that make the view and its comments in a DuckDB database."""
    given = {p.name for p in view.parameters}
    tree = sqlglot.parse_one(view.query, read="bigquery").transform(_utc_day)
    query = tree.transform(_utc_moment, given).sql(dialect="duckdb", pretty=True)
    if view.parameters:
        names = ", ".join(p.name for p in view.parameters)
        name = quoted(view.name)
        return (
            f"CREATE OR REPLACE MACRO {name}({names}) AS TABLE\n{query};\n"
            f"COMMENT ON MACRO TABLE {name} IS {sql_text(view.description)};\n"
        )
    name = quoted(view.name)
    comments = [f"COMMENT ON VIEW {name} IS {sql_text(view.description)};\n"] + [
        f"COMMENT ON COLUMN {name}.{quoted(column)} IS {sql_text(text)};\n"
        for column, text in view.columns.items()
    ]
    return f"CREATE OR REPLACE VIEW {name} AS\n{query};\n" + "".join(comments)


def bigquery_query(view: View) -> str:
    """The query of the view in BigQuery; `${dataset}` and `${views}` stand for the
    `project.dataset` of tables and of views."""
    tree = sqlglot.parse_one(view.query, read="bigquery")
    ours = {cte.alias for cte in tree.find_all(exp.CTE)}
    for table in list(tree.find_all(exp.Table)):
        # An UNNEST of `c.reasons` is no table.
        if isinstance(table.this, exp.Identifier) and not table.db and table.name not in ours:
            home = _VIEWS if table.name in NAMES else _DATASET
            table.set("this", exp.to_identifier(f"{home}.{table.name}", quoted=True))
    return tree.sql(dialect="bigquery", pretty=True)


def uses(view: View) -> list[str]:
    """Other views that it is made from."""
    tree = sqlglot.parse_one(view.query, read="bigquery")
    return sorted({table.name for table in tree.find_all(exp.Table)} & set(NAMES))


def _utc_moment(node: exp.Expression, given: set[str]) -> exp.Expression:
    """A parameter without a time zone is UTC, as in BigQuery."""
    if isinstance(node, exp.Column) and not node.table and node.name in given:
        return exp.Paren(
            this=sqlglot.parse_one(
                f"CASE WHEN typeof({node.name}) = 'TIMESTAMP' "
                f"THEN timezone('UTC', {node.name}::TIMESTAMP) ELSE {node.name}::TIMESTAMPTZ END",
                read="duckdb",
            )
        )
    return node


def _utc_day(node: exp.Expression) -> exp.Expression:
    if isinstance(node, exp.Date) and not node.args.get("zone"):
        utc = exp.AtTimeZone(this=node.this.copy(), zone=exp.Literal.string("UTC"))
        return exp.cast(exp.Paren(this=utc), exp.DataType.Type.DATE)
    return node
