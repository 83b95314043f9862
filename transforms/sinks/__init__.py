"""Rows out: DuckDB, Parquet, BigQuery and Kafka."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from schemas.errors import DistilwatchError, without_user


def parts_of(uri: str) -> SplitResult:
    """The parts of an output's URI.

    Raises:
      DistilwatchError: it is no address at all.
    """
    try:
        return urlsplit(uri)
    except ValueError as error:  # of brackets that hold no address
        raise DistilwatchError(
            f"this is no address: {error}",
            f"--output {without_user(uri)}",
            "write brackets only around an IPv6 address, as in kafka://[::1]:9092/topic",
        ) from None


def scheme_of(uri: str) -> str:
    """What kind of place an output is: duckdb, parquet, bigquery, kafka; "" for a plain path.

    Raises:
      DistilwatchError: it is no address at all.
    """
    return parts_of(uri).scheme


def duckdb_path(uri: str) -> Path:
    """The file of `duckdb:///relative.duckdb` or `duckdb:////absolute.duckdb`.

    Raises:
      DistilwatchError: when there is no file in it.
    """
    path = parts_of(uri).path.removeprefix("/")
    if not path:
        raise DistilwatchError("no file in the output", uri, "write duckdb:///out.duckdb")
    return Path(path)


def check_sink(uri: str, wait: bool = False) -> None:
    """Raises DistilwatchError when rows could not be written to a URI; creates nothing.

    Args:
      uri: duckdb:///file, parquet:///folder, bigquery://project/dataset, or
        kafka://host:port/topic.
      wait: whether a database may be locked by others now, because writing waits for them.
    """
    scheme = scheme_of(uri)
    if scheme == "kafka":
        from transforms.ingest.kafka import check_broker

        check_broker(uri)
        return
    if scheme == "parquet":
        from transforms.sinks.parquet import check_parquet

        check_parquet(uri)
        return
    if scheme == "bigquery":
        from transforms.sinks.bigquery.check import check_bigquery

        check_bigquery(uri)
        return
    if scheme != "duckdb":
        schemes = ("duckdb", "parquet", "bigquery", "kafka")
        near = difflib.get_close_matches(scheme, schemes, n=1)
        raise DistilwatchError(
            f"rows cannot be written to {scheme or 'a plain path'}",
            f"--output {uri}",
            f"did you mean {near[0]}:?"
            if near
            else "give duckdb:///file.duckdb, parquet:///folder, bigquery://project/dataset or "
            "kafka://host:port/topic",
        )
    path = duckdb_path(uri)
    folder = path.absolute().parent
    if not folder.is_dir():
        raise DistilwatchError("the folder does not exist", f"--output {uri}", f"make {folder}")
    if path.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise DistilwatchError("may not be written", f"--output {uri}", "choose another file")
    from transforms.sinks.duckdb_refusal import check_database

    check_database(path, wait)
