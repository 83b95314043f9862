"""What reading from BigQuery and writing to it share: addresses, the connection, refusals.

Only `uri` is imported here, which needs none of Google's libraries.
"""

from __future__ import annotations

from transforms.bigquery.uri import BigQueryUri, parse_bigquery_uri

__all__ = ["BigQueryUri", "parse_bigquery_uri"]
