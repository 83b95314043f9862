"""BigQuery: where a dataset is, and rows into its tables. docs/bigquery.md explains the choices.

Only `uri` is imported here, which needs none of Google's libraries.
"""

from __future__ import annotations

from transforms.sinks.bigquery.uri import BigQueryUri, parse_bigquery_uri

__all__ = ["BigQueryUri", "parse_bigquery_uri"]
