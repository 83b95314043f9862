"""Looks before a run starts whether a dataset can be written, or a table read; changes nothing."""

from __future__ import annotations

import uuid

from transforms.bigquery.client import BigQueryOptions, Connection, api
from transforms.bigquery.refusal import refused
from transforms.bigquery.uri import parse_bigquery_uri

_BRIEF = BigQueryOptions(retry_s=15.0)


def check_bigquery(uri: str) -> None:
    """Raises DistilwatchError when rows could not be written to a dataset.

    Looks for the libraries, credentials, the dataset, and the right to run jobs. The right to make
    tables shows only when one is made.
    """
    connection = Connection(parse_bigquery_uri(uri), _BRIEF)
    try:
        connection.locate()
        connection.client.query(
            "SELECT 1",
            job_config=api.QueryJobConfig(dry_run=True, use_query_cache=False),
            job_id=f"distilwatch-check-{uuid.uuid4().hex}",
            retry=connection.retry,
            job_retry=None,
            timeout=60,
        )
    except Exception as error:
        raise refused(error, connection.uri, "rows cannot be written") from None
