"""Answers a query over the tables and views of a BigQuery dataset."""

from __future__ import annotations

import re
import uuid
from typing import Any, NamedTuple

from pipelines.config import Config
from pipelines.fetched import affordable
from pipelines.parts import bigquery_options
from schemas.errors import DistilwatchError
from transforms.bigquery import parse_bigquery_uri

# An emulator says of several statements what the first one is, and does them in a dry run.
_QUERY = re.compile(
    r"(\s|--[^\n]*\n|/\*.*?\*/|\()*(SELECT|WITH)\b[^;]*;?\s*", re.IGNORECASE | re.DOTALL
)


class Answer(NamedTuple):
    """What a query gave.

    Attributes:
      names: of columns.
      rows: of values.
      size: bytes that BigQuery processed, as it estimated.
      usd: price of that.
    """

    names: list[str]
    rows: list[tuple[Any, ...]]
    size: int
    usd: float

    def line(self) -> str:
        """What it cost, for people."""
        return f"BigQuery read {self.size / 2**20:,.1f} MiB, about {self.usd:,.2f} USD."


def ask_dataset(uri: str, sql: str, config: Config) -> Answer:
    """Answers one query, once its price is known.

    Args:
      uri: bigquery://project/dataset, of the tables.
      sql: in BigQuery's dialect. A table or view that is named alone is one of
        `bigquery.views_dataset` where the settings name it, of the tables' dataset otherwise.
      config: with prices and their limit.

    Raises:
      DistilwatchError: it is no query, would cost more than `bigquery.max_cost_usd`, or BigQuery
        refuses.
    """
    from transforms.bigquery.client import Connection, api
    from transforms.bigquery.refusal import refused

    connection = Connection(parse_bigquery_uri(uri), bigquery_options(config))
    views = config.bigquery.views_dataset
    within = f"{connection.uri.project}.{views}" if views else connection.uri.dataset_id
    try:
        connection.locate()
        dry = api.QueryJobConfig(dry_run=True, use_query_cache=False, default_dataset=within)
        if connection.uri.emulated and not _QUERY.fullmatch(sql):
            raise _no_query("something else")
        tried = connection.client.query(sql, dry)
        if not connection.uri.emulated and tried.statement_type != "SELECT":
            raise _no_query(str(tried.statement_type))
        size = int(tried.total_bytes_processed or 0)
        price = config.bigquery.query_usd_per_tib
        usd = affordable(size, price, config, "ask for fewer columns or days")
        name = f"distilwatch-ask-{uuid.uuid4().hex}"
        found = connection.answer(sql, name, dataset=within)
        rows = [tuple(row.values()) for row in found]
    except Exception as error:
        raise refused(error, connection.uri, "the query has no answer") from error
    return Answer([field.name for field in found.schema], rows, size, usd)


def _no_query(kind: str) -> DistilwatchError:
    return DistilwatchError(
        f"this is no query, but {kind}", "SQL", "ask with SELECT; to change tables, use `bq query`"
    )
