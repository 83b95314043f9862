"""Makes tables, and gives those of an older version the columns added since; removes nothing."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.errors import DistilwatchError
from schemas.model import Table
from transforms.bigquery.client import BigQueryOptions, Connection, api, errors

_SYNONYMS = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "STRUCT": "RECORD"}
_TRIES = 5


def table_resource(table: Table, table_id: str, options: BigQueryOptions) -> dict[str, Any]:
    """The body of a `tables.insert` request.

    Args:
      table: of the contract.
      table_id: `project.dataset.table`.
      options: expiry and labels.
    """
    project, dataset, name = table_id.rsplit(".", 2)
    resource: dict[str, Any] = {
        "tableReference": {"projectId": project, "datasetId": dataset, "tableId": name},
        "description": table.description,
        "labels": _labels(table, options),
        "schema": {"fields": table.bigquery()},
        "tableConstraints": {"primaryKey": {"columns": list(table.key)}},
    }
    if table.partition:
        resource["timePartitioning"] = {"type": "DAY", "field": table.partition}
        if expire_ms := _expiry(table, options):
            resource["timePartitioning"]["expirationMs"] = str(expire_ms)
    if table.clustering:
        resource["clustering"] = {"fields": list(table.clustering)}
    return resource


def _expiry(table: Table, options: BigQueryOptions) -> int | None:
    """What people decided holds until they said, not until a day is old."""
    return 0 if table.name == "dispositions" else options.expire_ms


def _labels(table: Table, options: BigQueryOptions) -> dict[str, str]:
    return {
        "application": "distilwatch",
        "contract_version": str(table.version),
        **dict(options.labels),
    }


def ensure_table(connection: Connection, table: Table) -> None:
    """Makes a table that is missing, or adds to it what it lacks.

    Columns that others have added stay, and so do policy tags. Expiry and labels follow the
    options.

    Raises:
      DistilwatchError: the table is another one, or may not be made.
      google.api_core.exceptions.GoogleAPICallError: BigQuery refuses.
    """
    table_id = f"{connection.uri.dataset_id}.{table.name}"
    for _ in range(_TRIES):
        try:
            there = connection.call(connection.client.get_table, table_id)
        except errors.NotFound:
            # A missing dataset is another matter, which making the table would tell.
            if not connection.options.create_tables:
                raise DistilwatchError(
                    f"the table {table.name} does not exist",
                    connection.uri.place,
                    "make it (infra/terraform does), or set bigquery.create_tables to true",
                ) from None
            resource = table_resource(table, table_id, connection.options)
            connection.call(
                connection.client.create_table, api.Table.from_api_repr(resource), exists_ok=True
            )
            return
        names = {f.name.lower() for f in there.schema}
        if not (changed := _bring_up(there, table, connection)):
            return
        try:
            connection.call(connection.client.update_table, there, changed)
            if connection.uri.emulated:
                _alter(connection, table, names)
            return
        except errors.PreconditionFailed:
            continue  # somebody else changed it meanwhile; look again
    raise DistilwatchError(
        f"the table {table.name} is being changed by others all the time",
        connection.uri.place,
        "stop the other program that changes it, or set bigquery.create_tables to false",
    )


def _alter(connection: Connection, table: Table, there: set[str]) -> None:
    """Adds columns once more: the emulator lets `tables.patch` change what it says of a table, and
    ALTER TABLE the table."""
    for column in table.columns:
        if column.name.lower() not in there:
            connection.query(
                f"ALTER TABLE `{connection.uri.dataset_id}.{table.name}` "
                f"ADD COLUMN IF NOT EXISTS {column.bigquery_sql()}",
                f"distilwatch-alter-{uuid.uuid4().hex}",
            )


def _bring_up(there: Any, table: Table, connection: Connection) -> list[str]:
    """Changes `there` to what it must be; returns the names of what was changed."""
    options, changed = connection.options, []
    where = f"{connection.uri.place}/{table.name}"
    before = [f.to_api_repr() for f in there.schema]
    after = merged_fields(before, table.bigquery(), where)
    if after != before:
        if not options.create_tables:
            raise DistilwatchError(
                f"the table {table.name} is of an older version",
                where,
                "add the columns (infra/terraform does), or set bigquery.create_tables to true",
            )
        there.schema = [api.SchemaField.from_api_repr(f) for f in after]
        changed.append("schema")
    if not options.create_tables:
        return changed
    there_key = there.table_constraints and there.table_constraints.primary_key
    if there_key and list(there_key.columns) != list(table.key):
        # BigQuery takes it for granted, and would leave joins out by it.
        there.table_constraints = api.table.TableConstraints.from_api_repr(
            {"primaryKey": {"columns": list(table.key)}}
        )
        changed.append("table_constraints")
    partitioning, expire_ms = there.time_partitioning, _expiry(table, options)
    known = expire_ms is not None
    if partitioning is not None and known and (partitioning.expiration_ms or 0) != expire_ms:
        there.time_partitioning = api.TimePartitioning(
            type_=partitioning.type_,
            field=partitioning.field,
            expiration_ms=expire_ms or None,
        )
        changed.append("time_partitioning")
    labels = there.labels | _labels(table, options)
    if labels != there.labels:
        there.labels = labels
        changed.append("labels")
    return changed


def merged_fields(
    there: Sequence[Mapping[str, Any]], ours: Sequence[Mapping[str, Any]], where: str
) -> list[dict[str, Any]]:
    """Fields of an existing schema and those of ours that it lacks, at the end.

    Args:
      there: as BigQuery has them; kept as they are, with descriptions and policy tags.
      ours: of the contract.
      where: for messages.

    Raises:
      DistilwatchError: a field has another type or mode, or is required and missing.
    """
    by_name = {f["name"].lower(): f for f in there}
    merged = [dict(f) for f in there]
    for field in ours:
        old = by_name.get(field["name"].lower())
        if old is None:
            if field["mode"] == "REQUIRED":
                raise DistilwatchError(
                    f"the column {field['name']} is missing, so this is another table",
                    where,
                    "choose another dataset, or rename that table",
                )
            merged.append(dict(field))
            continue
        kinds = [_SYNONYMS.get(f["type"], f["type"]) for f in (old, field)]
        repeated = [f.get("mode", "NULLABLE") == "REPEATED" for f in (old, field)]
        if kinds[0] != kinds[1] or repeated[0] != repeated[1]:
            raise DistilwatchError(
                f"the column {field['name']} is {old.get('mode', 'NULLABLE')} {kinds[0]} there, "
                f"and {field['mode']} {kinds[1]} here",
                where,
                "choose another dataset, or rename that table",
            )
        if field.get("fields"):
            inner = merged_fields(old["fields"], field["fields"], f"{where}, {field['name']}")
            at = [f["name"].lower() for f in there].index(field["name"].lower())
            merged[at] = {**old, "fields": inner}
    return merged
