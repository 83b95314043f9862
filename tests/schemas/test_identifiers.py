"""Which columns name a customer is known of every one, so that `distilwatch forget` finds them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from schemas.mention import mentions
from schemas.model import Column
from schemas.tables import FREE_TEXT, IDENTIFIERS, TABLES

# Names of columns whose texts come from a list of ours, are hashes, name runs, clusters, files,
# staff or models, or hold numbers of many accounts together.
NO_ACCOUNT = {
    "alert_id", "bundle_version", "campaign", "cluster_id", "coverage", "decided_by", "decision",
    "detail", "direction", "disposition_id", "embedding_model", "exposure_method", "feature",
    "indicator_id", "key_kind", "kind", "level", "marking", "merged_clusters", "merged_into",
    "method", "metric", "name", "namespace", "pane", "peer_group", "policy", "policy_version",
    "provider", "raw", "raw_sha256", "replay_id", "run_id", "session_id", "severity",
    "severity_reason", "sighting_id", "sketch", "source", "space", "stage", "state", "status",
    "step", "storm_id", "tactics", "thing", "to_source", "value", "words", "channels",
    "reported_by",
}  # fmt: skip
# The reason of a dead letter or replay is one of our words, that of an alert or decision is not.
WORD_OF_OURS = {("dead_letters", "reason"), ("dead_letter_replays", "reason")}


def texts(columns: tuple[Column, ...]) -> Iterator[Column]:
    for column in columns:
        if column.fields:
            yield from texts(column.fields)
        elif column.type in ("STRING", "BYTES"):
            yield column


@pytest.mark.parametrize("table", TABLES)
def test_every_text_is_looked_into_or_known_to_name_nobody(table: str) -> None:
    """A new column fails here until somebody has thought of it."""
    named = {*IDENTIFIERS.get(table, ()), *FREE_TEXT.get(table, ())}
    assert named <= {column.name for column in TABLES[table].columns}
    unknown = [
        column.name
        for column in texts(TABLES[table].columns)
        if column.name not in named | NO_ACCOUNT and (table, column.name) not in WORD_OF_OURS
    ]
    assert unknown == []


def test_what_is_called_an_account_is_never_among_those_that_name_nobody() -> None:
    assert not [name for name in NO_ACCOUNT if "account" in name or ("key" in name.split("_")[:1]
                and name != "key_kind")]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("acct-1", True),
        ("see acct-1.", True),
        ("org/acct-1,acct-2", True),
        ("acct-12", False),
        ("acct-1-2", False),
        ("my_acct-1", False),
        ("", False),
    ],
)
def test_a_name_is_a_word_of_its_own(text: str, names: bool) -> None:
    assert mentions(text, "acct-1") is names
