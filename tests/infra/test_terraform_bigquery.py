"""infra/terraform/bigquery: format, language, and agreement with the contracts.

Google's provider cannot be had offline, so its own checks of arguments are left to `tofu validate`
on a machine that can.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import duckdb
import sqlglot

from pipelines.settings import TablesConfig
from pipelines.upkeep import expire
from schemas.tables import IDENTIFIERS, TABLES
from schemas.views import NAMES
from tests.support.terraform import blocks_of
from tests.support.views import DAY, ROWS, T0
from transforms.sinks.duckdb import write_tables

REPOSITORY = Path(__file__).resolve().parents[2]
MODULE = REPOSITORY / "infra" / "terraform" / "bigquery"
GENERATED = REPOSITORY / "schemas" / "generated"
FILES = sorted(MODULE.glob("*.tf"))
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in FILES)
CODE = "\n".join(line for line in TEXT.splitlines() if not line.lstrip().startswith("#"))


def blocks(kind: str) -> list[dict[str, Any]]:
    return blocks_of(FILES, kind)


def names(kind: str) -> set[str]:
    return {name for block in blocks(kind) for name in block}


def test_every_variable_is_used_and_described_and_none_is_unknown() -> None:
    used = set(re.findall(r"\bvar\.(\w+)", CODE))
    assert used == names("variable")
    for block in blocks("variable") + blocks("output"):
        for name, about in block.items():
            assert len(about.get("description", "")) > 20, name


def test_every_reference_is_to_something_that_is_declared() -> None:
    locals_ = {name for block in blocks("locals") for name in block}
    assert set(re.findall(r"\blocal\.(\w+)", CODE)) == locals_
    declared = {(t, n) for block in blocks("resource") for t, named in block.items() for n in named}
    for kind, name in re.findall(r"\b(google_\w+)\.(\w+)", CODE):
        assert (kind, name) in declared or f"data.{kind}.{name}" in CODE, (kind, name)


def test_every_table_is_covered_with_its_key_and_its_identifiers() -> None:
    tables = json.loads((GENERATED / "tables.json").read_text(encoding="utf-8"))
    assert list(tables) == list(TABLES)
    for name, table in TABLES.items():
        about = tables[name]
        assert about["key"] == list(table.key)
        assert about["partition"] == table.partition
        columns = json.loads((GENERATED / f"{name}.bigquery.json").read_text(encoding="utf-8"))
        assert [c["name"] for c in columns] == [c.name for c in table.columns]
        assert set(about["identifiers"]) <= {c["name"] for c in columns}
    # Whatever is called an account must be among the identifiers.
    called = {"account_id", "accounts", "split_accounts", "key"}
    named = {n: {c.name for c in t.columns} & called for n, t in TABLES.items()}
    assert {n: set(ids) for n, ids in IDENTIFIERS.items()} == {n: i for n, i in named.items() if i}


def test_texts_are_hashed_and_lists_are_left_out_for_those_who_may_not_read_them() -> None:
    """BigQuery hashes STRING and BYTES only; the default mask of a list is an empty one."""
    [masks] = [block["masks"] for block in blocks("locals") if "masks" in block]
    assert masks == {"texts": "SHA256", "lists": "DEFAULT_MASKING_VALUE"}
    modes = {TABLES[t].column(c).mode for t, columns in IDENTIFIERS.items() for c in columns}
    assert "REPEATED" in modes
    assert 'column.mode == "REPEATED" ? "lists" : "texts"' in CODE
    assert {TABLES[t].column(c).type for t, columns in IDENTIFIERS.items() for c in columns} == {
        "STRING"
    }


def test_what_may_expire_are_tables() -> None:
    expiring = re.search(r'variable "expire_days" \{.*?\n\}', TEXT, re.DOTALL)
    assert expiring is not None
    assert set(re.findall(r"^ {4}(\w+) +=", expiring[0], re.MULTILINE)) <= set(TABLES)


def test_views_are_made_after_those_that_they_are_made_from() -> None:
    views = json.loads((GENERATED / "views.json").read_text(encoding="utf-8"))
    assert list(views) == list(NAMES)
    first = {name for name, about in views.items() if not about["uses"]}
    for name, about in views.items():
        assert set(about["uses"]) <= first, name
        assert not (about["uses"] and about["parameters"]), name
        query = (GENERATED / "views" / f"{name}.bigquery.sql").read_text(encoding="utf-8")
        assert set(re.findall(r"\$\{(\w+)\}", query)) <= {"dataset", "views"}
        assert "%{" not in query  # which a template would take for its own


def test_nothing_secret_is_in_the_state() -> None:
    made = {kind for block in blocks("resource") for kind in block}
    forbidden = ("_key", "secret", "password", "random_", "tls_")
    assert not [kind for kind in made if any(word in kind for word in forbidden)]
    for block in blocks("variable"):
        for name, about in block.items():
            assert not re.search(r"secret|password|token|credential|private", name), name
            assert not re.search(r"AIza|-----BEGIN|ya29\.", json.dumps(about)), name
    assert "roles/owner" not in CODE
    assert "roles/editor" not in CODE
    assert not re.search(r"\ballUsers\b|\ballAuthenticatedUsers\b", CODE)


def test_old_revisions_go_by_the_schedule_as_by_the_command(tmp_path: Path) -> None:
    """The scheduled query, on DuckDB, leaves the rows that `distilwatch tables expire` leaves."""
    tables = {name: TABLES[name].to_arrow(rows) for name, rows in ROWS.items()}
    left = []
    for name in ("command.duckdb", "schedule.duckdb"):
        path = tmp_path / name
        write_tables(path, tables)
        now = T0 + 3 * DAY + DAY // 2
        if name.startswith("command"):
            forever = {k: 0 for k in TablesConfig.model_fields if k != "grace"}
            expire(f"duckdb:///{path}", TablesConfig(**forever | {"keep_revisions": "1 d"}), now)
        else:
            script = (MODULE / "old_revisions.sql").read_text(encoding="utf-8")
            script = script.replace("${dataset}.", "").replace("${days}", "1")
            script = script.replace("CURRENT_TIMESTAMP()", f"TIMESTAMP_MILLIS({now})")
            with duckdb.connect(str(path)) as connection:
                connection.execute("SET TimeZone = 'UTC'")
                for statement in sqlglot.transpile(script, read="bigquery", write="duckdb"):
                    connection.execute(statement)
        with duckdb.connect(str(path), read_only=True) as connection:
            left.append(
                [
                    connection.execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall()
                    for table in TABLES
                ]
            )
    assert left[0] == left[1]
    assert sum(map(len, left[0])) < sum(map(len, ROWS.values()))
