"""Writes the files and the page that are made from the contracts: `python -m schemas.generate`.

What is new in the contracts is noted in `tests/schemas/contract_v1.json`; see `schemas.promise`.
With `--check` it writes nothing and fails when one of them is not what would be written.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from schemas import events
from schemas.promise import added_to
from schemas.tables import IDENTIFIERS, TABLES, VERSION
from schemas.views import NAMES, source_of
from schemas.views.render import bigquery_query, duckdb_sql, uses
from schemas.views.source import read_view

_ROOT = Path(__file__).resolve().parents[1]
_PROMISE = "tests/schemas/contract_v1.json"


def generated() -> dict[str, str]:
    """Every generated file by its path in the repository."""
    files = {
        "schemas/generated/request_event.schema.json": _json(events.json_schema()),
        "schemas/generated/request_event.avsc": _json(events.avro_schema()),
    }
    for name, table in TABLES.items():
        files[f"schemas/generated/{name}.bigquery.json"] = _json(table.bigquery())
        files[f"schemas/generated/{name}.bigquery.sql"] = table.bigquery_ddl("DATASET") + ";\n"
        files[f"schemas/generated/{name}.avsc"] = _json(table.avro())
        files[f"schemas/generated/{name}.arrow.json"] = _json(table.arrow_json())
        files[f"schemas/generated/{name}.duckdb.sql"] = table.duckdb_ddl() + ";\n"
    views = [read_view(source_of(name), TABLES) for name in NAMES]
    for view in views:
        files[f"schemas/generated/views/{view.name}.duckdb.sql"] = duckdb_sql(view)
        files[f"schemas/generated/views/{view.name}.bigquery.sql"] = bigquery_query(view) + "\n"
    files["schemas/generated/tables.json"] = _json(
        {
            name: {
                "description": table.description,
                "key": table.key,
                "partition": table.partition,
                "clustering": table.clustering,
                "identifiers": IDENTIFIERS.get(name, ()),
            }
            for name, table in TABLES.items()
        }
    )
    files["schemas/generated/views.json"] = _json(
        {
            view.name: {
                "description": view.description,
                "columns": view.columns,
                "uses": uses(view),
                "parameters": {p.name: p.type for p in view.parameters},
            }
            for view in views
        }
    )
    files["docs/views.md"] = _page("# Views", _VIEWS, *(view.markdown() for view in views))
    page = [
        "# The two contracts",
        "",
        "Made by `make generate` from `schemas/`; do not edit. Both change only by adding.",
        "",
        events.markdown(),
        f"# The tables, version {VERSION}",
        "",
        *(table.markdown() for table in TABLES.values()),
    ]
    promised = json.loads((_ROOT / _PROMISE).read_text(encoding="utf-8"))
    files[_PROMISE] = json.dumps(added_to(promised), indent=1, ensure_ascii=False) + "\n"
    files["docs/contracts.md"] = "\n".join(page).rstrip() + "\n"
    return files


def _page(title: str, *parts: str) -> str:
    return "\n".join([title, "", *parts]).rstrip() + "\n"


_VIEWS = """\
Made by `make generate` from `schemas/views/`; do not edit. The same views, with the same columns,
are in a DuckDB output, in what `distilwatch tables open` makes of Parquet files, and in BigQuery
(`infra/terraform/bigquery`). Those with a parameter are called like a function:
`SELECT * FROM clusters_as_of(TIMESTAMP '2026-06-01 12:00:00+00')`.
[Analysts' questions](analysts.md) shows them at work.
"""


def stale() -> list[str]:
    """Paths of files that are missing or not what would be written."""
    return [
        path
        for path, content in generated().items()
        if not (_ROOT / path).is_file() or (_ROOT / path).read_text(encoding="utf-8") != content
    ]


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Writes, or checks."""
    changed = stale()
    if "--check" in arguments:
        for path in changed:
            print(f"{path} is stale: run `make generate`", file=sys.stderr)
        return 1 if changed else 0
    for path in changed:
        target = _ROOT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(generated()[path], encoding="utf-8")
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
