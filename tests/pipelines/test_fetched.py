"""What is copied out of a dataset of any age."""

from __future__ import annotations

import pytest

from pipelines.fetched import tables_to_read
from schemas.errors import DistilwatchError
from schemas.tables import TABLES

URI = "bigquery://p/d"


def test_a_table_that_an_older_dataset_lacks_is_empty_there() -> None:
    """Else `dlq replay` would send letters, and then fail to write down that it did."""
    older = TABLES.keys() - {"dead_letter_replays"}
    assert tables_to_read(["dead_letter_replays"], older, URI) == []
    assert tables_to_read(["dead_letters", "dead_letter_replays"], older, URI) == ["dead_letters"]
    assert tables_to_read([], older, URI) == [name for name in TABLES if name in older]


def test_a_dataset_of_others_is_told() -> None:
    with pytest.raises(DistilwatchError, match="no tables of ours"):
        tables_to_read(["dead_letters"], {"orders"}, URI)
