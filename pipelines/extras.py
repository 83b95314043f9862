"""Parts of distilwatch that are installed only where they are wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.errors import DistilwatchError, not_installed


@dataclass(frozen=True)
class Extra:
    """One part.

    Attributes:
      use: what it is for.
      modules: that it brings, and the base has not; the first tells whether it is there.
    """

    use: str
    modules: tuple[str, ...]


EXTRAS: Mapping[str, Extra] = {
    "triage": Extra(
        "the triage pages",
        ("uvicorn", "starlette", "authlib", "itsdangerous", "limits", "python_multipart"),
    ),
    "otlp": Extra(
        "OTLP: reading spans in protobuf, and traces of our own",
        ("opentelemetry.exporter.otlp.proto.http", "opentelemetry"),
    ),
    "gcp": Extra("BigQuery and Dataflow", ("google.cloud.bigquery", "google.cloud", "google.auth")),
    "sharing": Extra(
        "sharing with other labs",
        ("stix2", "stix2validator", "taxii2client", "oblivious", "opendp", "pymisp", "rbcl",
         "requests", "starlette", "uvicorn"),
    ),
}  # fmt: skip


def missing_extra(error: BaseException) -> DistilwatchError | None:
    """The word for a module that an extra would bring; None for any other error."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    for name, extra in EXTRAS.items():
        for module in extra.modules:
            if error.name == module or error.name.startswith(f"{module}."):
                return not_installed(extra.use, name, error.name)
    return None
