"""What a table is, and the forms that one definition takes: Arrow, DuckDB, BigQuery, Avro,
words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from schemas.errors import DistilwatchError

Type = Literal["STRING", "INT64", "FLOAT64", "BOOL", "BYTES", "TIMESTAMP", "RECORD"]
Mode = Literal["NULLABLE", "REQUIRED", "REPEATED"]

_ARROW: Mapping[str, pa.DataType] = {
    "STRING": pa.string(),
    "INT64": pa.int64(),
    "FLOAT64": pa.float64(),
    "BOOL": pa.bool_(),
    "BYTES": pa.binary(),
    "TIMESTAMP": pa.timestamp("ms", "UTC"),
}
_DUCKDB: Mapping[str, str] = {
    "STRING": "VARCHAR",
    "INT64": "BIGINT",
    "FLOAT64": "DOUBLE",
    "BOOL": "BOOLEAN",
    "BYTES": "BLOB",
    "TIMESTAMP": "TIMESTAMP WITH TIME ZONE",
}
_AVRO: Mapping[str, Any] = {
    "STRING": "string",
    "INT64": "long",
    "FLOAT64": "double",
    "BOOL": "boolean",
    "BYTES": "bytes",
    "TIMESTAMP": {"type": "long", "logicalType": "timestamp-millis"},
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column, or a field of a record.

    Attributes:
      name: the same in every form.
      type: BigQuery's name of it; RECORD has `fields`.
      mode: BigQuery's name of it. Columns that are added later must not be REQUIRED.
      description: what it means, for people.
      unit: "" where there is none.
      fields: of a record; none of them REQUIRED.
      default: taken where a row does not have the column; None for none.
    """

    name: str
    type: Type
    mode: Mode
    description: str
    unit: str = ""
    fields: tuple[Column, ...] = ()
    default: str | int | None = None

    def arrow(self) -> pa.DataType:
        """Its Arrow type."""
        kind = (
            pa.struct([f.arrow_field() for f in self.fields]) if self.fields else _ARROW[self.type]
        )
        return pa.list_(kind) if self.mode == "REPEATED" else kind

    def arrow_field(self) -> pa.Field:
        """Its Arrow field, with description and unit as metadata."""
        about = {"description": self.description} | ({"unit": self.unit} if self.unit else {})
        return pa.field(self.name, self.arrow(), self.mode != "REQUIRED", about)

    def duckdb(self) -> str:
        """Its DuckDB type."""
        kind = (
            "STRUCT(" + ", ".join(f"{quoted(f.name)} {f.duckdb()}" for f in self.fields) + ")"
            if self.fields
            else _DUCKDB[self.type]
        )
        return kind + ("[]" if self.mode == "REPEATED" else "")

    def bigquery(self) -> dict[str, Any]:
        """Its entry in a BigQuery JSON schema."""
        entry: dict[str, Any] = {
            "name": self.name,
            "type": self.type,
            "mode": self.mode,
            "description": self.about(),
        }
        if self.fields:
            entry["fields"] = [f.bigquery() for f in self.fields]
        return entry

    def bigquery_sql(self) -> str:
        """Its definition in BigQuery's CREATE TABLE."""
        kind: str = self.type
        if self.fields:
            kind = f"STRUCT<{', '.join(f.bigquery_sql() for f in self.fields)}>"
        if self.mode == "REPEATED":
            kind = f"ARRAY<{kind}>"
        required = " NOT NULL" if self.mode == "REQUIRED" else ""
        return f"`{self.name}` {kind}{required} OPTIONS(description={bigquery_text(self.about())})"

    def avro(self, within: str) -> dict[str, Any]:
        """Its Avro field; `within` keeps the names of records apart."""
        kind: Any = _AVRO.get(self.type)
        if self.fields:
            name = f"{within}_{self.name}"
            kind = {"type": "record", "name": name, "fields": [f.avro(name) for f in self.fields]}
        field: dict[str, Any] = {"name": self.name, "doc": self.about()}
        if self.mode == "REPEATED":
            return field | {"type": {"type": "array", "items": kind}, "default": []}
        if self.mode == "REQUIRED":
            return field | {"type": kind}
        return field | {"type": ["null", kind], "default": None}

    def about(self) -> str:
        """Description and unit in one line."""
        return f"{self.description} [{self.unit}]" if self.unit else self.description


@dataclass(frozen=True, slots=True)
class Table:
    """A table; rows with the same key are the same row.

    Attributes:
      name, description: for people and queries.
      key: columns that make a row; all REQUIRED, but for `key_added`.
      partition: TIMESTAMP column by whose day the table is cut; "" for one that is not cut.
      clustering: columns that people filter on, most wanted first; at most four, as in BigQuery.
      columns: in order; new ones go last.
      prefer: a STRING column and its values, best last: of two versions of a row in one batch, the
        one with the better value stays.
      version: of the contract.
      key_added: columns of the key that older versions did not have, and that are empty in their
        rows.
    """

    name: str
    description: str
    key: tuple[str, ...]
    partition: str
    clustering: tuple[str, ...]
    columns: tuple[Column, ...]
    prefer: tuple[str, tuple[str, ...]] | None = None
    version: int = 1
    key_added: tuple[str, ...] = ()

    def column(self, name: str) -> Column:
        """The column of a name; KeyError without."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def arrow(self) -> pa.Schema:
        """Its Arrow schema."""
        about = {"description": self.description, "contract_version": str(self.version)}
        return pa.schema([c.arrow_field() for c in self.columns], about)

    def arrow_json(self) -> dict[str, Any]:
        """Its Arrow schema in words, which is that of its Parquet files, too."""
        return {"name": self.name, "fields": [_arrow_words(field) for field in self.arrow()]}

    def duckdb_ddl(self) -> str:
        """Its CREATE TABLE statement; the key makes a second write of a row replace the first."""
        columns = ", ".join(
            f"{quoted(c.name)} {c.duckdb()}" + (" NOT NULL" if c.mode == "REQUIRED" else "")
            for c in self.columns
        )
        key = ", ".join(quoted(k) for k in self.key)
        unique = "UNIQUE" if self.key_added else "PRIMARY KEY"
        return f"CREATE TABLE IF NOT EXISTS {quoted(self.name)} ({columns}, {unique} ({key}))"

    def duckdb_upgrades(self) -> list[str]:
        """Statements that give a table of an older version the columns added since."""
        add = f"ALTER TABLE {quoted(self.name)} ADD COLUMN IF NOT EXISTS"
        return [
            f"{add} {quoted(c.name)} {c.duckdb()}" for c in self.columns if c.mode != "REQUIRED"
        ]

    def duckdb_comments(self) -> list[str]:
        """Statements that put the descriptions into a DuckDB database."""
        name = quoted(self.name)
        return [f"COMMENT ON TABLE {name} IS {sql_text(self.description)}"] + [
            f"COMMENT ON COLUMN {name}.{quoted(c.name)} IS {sql_text(c.about())}"
            for c in self.columns
        ]

    def bigquery(self) -> list[dict[str, Any]]:
        """Its BigQuery JSON schema."""
        return [c.bigquery() for c in self.columns]

    def bigquery_ddl(self, dataset: str) -> str:
        """Its CREATE TABLE statement for BigQuery.

        Args:
          dataset: `dataset` or `project.dataset`.
        """
        columns = ",\n  ".join(c.bigquery_sql() for c in self.columns)
        key = ", ".join(f"`{k}`" for k in self.key)
        parts = [
            f"CREATE TABLE IF NOT EXISTS `{dataset}.{self.name}` (\n  {columns},\n"
            f"  PRIMARY KEY ({key}) NOT ENFORCED\n)"
        ]
        if self.partition:
            parts.append(f"PARTITION BY DATE(`{self.partition}`)")
        if self.clustering:
            parts.append("CLUSTER BY " + ", ".join(f"`{c}`" for c in self.clustering))
        parts.append(
            f"OPTIONS(description={bigquery_text(self.description)}, "
            f'labels=[("contract_version", "{self.version}")])'
        )
        return "\n".join(parts)

    def avro(self) -> dict[str, Any]:
        """Its Avro schema."""
        return {
            "type": "record",
            "name": self.name,
            "namespace": f"distilwatch.v{self.version}",
            "doc": self.description,
            "fields": [c.avro(self.name) for c in self.columns],
        }

    def markdown(self) -> str:
        """Its section of the documentation."""
        facts = [f"Key: {_names(self.key)}."]
        if self.partition:
            facts.append(f"Partitioned by the day of `{self.partition}`.")
        if self.clustering:
            facts.append(f"Clustered by {_names(self.clustering)}.")
        rows = [_markdown_row(c, "") for c in self.columns]
        for column in self.columns:
            if column.fields:
                at = rows.index(_markdown_row(column, ""))
                rows[at + 1 : at + 1] = [_markdown_row(f, f"{column.name}.") for f in column.fields]
        head = "| column | type | mode | meaning | unit |\n|---|---|---|---|---|"
        return "\n".join(
            [f"## `{self.name}`", "", self.description, "", " ".join(facts), "", head, *rows, ""]
        )

    def to_arrow(self, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        """Rows as an Arrow table; see `normalise.arrow_table` for what is checked."""
        from schemas.normalise import arrow_table

        return arrow_table(self, rows)


def _arrow_words(field: pa.Field) -> dict[str, Any]:
    kind = field.type.value_type if pa.types.is_list(field.type) else field.type
    words: dict[str, Any] = {
        "name": field.name,
        "type": "struct" if pa.types.is_struct(kind) else str(kind),
        "list": pa.types.is_list(field.type),
        "nullable": field.nullable,
        **{key.decode(): value.decode() for key, value in (field.metadata or {}).items()},
    }
    if pa.types.is_struct(kind):
        words["fields"] = [_arrow_words(kind.field(i)) for i in range(kind.num_fields)]
    return words


def quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def sql_text(text: str) -> str:
    """A text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


def bigquery_text(text: str) -> str:
    """A text as BigQuery has it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _markdown_row(column: Column, prefix: str) -> str:
    text = column.description.replace("|", "\\|")
    mode = column.mode.lower()
    return f"| `{prefix}{column.name}` | {column.type} | {mode} | {text} | {column.unit} |"


def check_table(table: Table) -> None:
    """Raises DistilwatchError when a definition contradicts itself."""
    where = f"schemas.tables, {table.name}"
    names = [c.name for c in table.columns]
    if len(set(names)) != len(names):
        raise DistilwatchError("a column is defined twice", where, "take one out")
    for name in (*table.key, *table.clustering, *filter(None, [table.partition])):
        if name not in names:
            raise DistilwatchError(f"{name} is no column", where, "define it, or leave it out")
    for name in table.key:
        if table.column(name).mode != "REQUIRED" and name not in table.key_added:
            raise DistilwatchError(f"key column {name} may be missing", where, "make it REQUIRED")
    if table.partition and table.column(table.partition).type != "TIMESTAMP":
        raise DistilwatchError(
            f"partition column {table.partition} is no time", where, "choose a TIMESTAMP column"
        )
    if len(table.clustering) > 4:
        raise DistilwatchError("more than four clustering columns", where, "leave some out")
