"""Places that hold rows and can be told to remove some: DuckDB, Parquet, the spool, BigQuery.

Conditions are SQL that DuckDB and BigQuery read alike (`transforms.sinks.removal`).
"""

from __future__ import annotations

from typing import Protocol, Self

from schemas.mention import mention
from schemas.model import quoted, sql_text


class Store(Protocol):
    """Holds rows of our tables while a `with` statement lasts; nobody else writes meanwhile."""

    @property
    def name(self) -> str:
        """For people: its URI or folder."""

    def __enter__(self) -> Self:
        """Takes it, and waits until it can be had."""

    def __exit__(self, *error: object) -> None:
        """Gives it back; without an error also overwrites what removed rows left behind."""

    def quote(self, text: str) -> str:
        """A text as its SQL has it."""

    def mentions(self, column: str, name: str) -> str:
        """A condition: the text of a column names something (`schemas.mention`)."""

    def values(self, query: str) -> list[str]:
        """The values of a query's one column."""

    def count(self, table: str, where: str) -> int:
        """Rows that a condition fits."""

    def delete(self, table: str, where: str) -> int:
        """Removes them; returns how many."""

    def replace(self, table: str, column: str, value: str, where: str) -> int:
        """Gives a column of them another value, which is SQL; returns how many."""


def quote(text: str) -> str:
    """A text as DuckDB has it."""
    return sql_text(text)


def mentions(column: str, name: str) -> str:
    """As of `Store`, for DuckDB."""
    return f"regexp_matches({quoted(column)}, {sql_text(mention(name))})"
