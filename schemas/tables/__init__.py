"""Contract 2, version 1: every table, defined once. All other forms are made from here.

Columns are only ever added, at the end of a table and not REQUIRED;
`tests/schemas/contract_v1.json` holds what was promised, and a test compares.
"""

from __future__ import annotations

from collections.abc import Mapping

from schemas.model import Column, Table, check_table
from schemas.normalise import normalise_row
from schemas.tables import findings, on_call, records, sharing
from schemas.views import VIEWS

__all__ = [
    "FREE_TEXT",
    "IDENTIFIERS",
    "TABLES",
    "VERSION",
    "VIEWS",
    "Column",
    "Table",
    "normalise_row",
]

VERSION = 1

TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
        findings.SESSION_SCORES,
        findings.FLAGGED_CLUSTERS,
        findings.CLUSTER_MEMBERS,
        records.DEAD_LETTERS,
        records.DEAD_LETTER_REPLAYS,
        records.RUN_HEALTH,
        on_call.DISPOSITIONS,
        on_call.ALERTS,
        sharing.INDICATORS,
        sharing.SIGHTINGS,
        findings.CLUSTER_EVIDENCE,
    )
}

IDENTIFIERS: Mapping[str, tuple[str, ...]] = {
    "session_scores": ("key",),
    "cluster_members": ("account_id",),
    "dispositions": ("accounts", "split_accounts"),
    "sightings": ("account_id",),
}
"""Columns that name a customer, by table; who may read them is decided apart from the rest, and
`distilwatch forget` looks into them."""

FREE_TEXT: Mapping[str, tuple[str, ...]] = {
    "dispositions": ("reason",),
    "alerts": ("reason",),
}
"""Columns that hold what people wrote, by table: they may name a customer, too."""

for _table in TABLES.values():
    check_table(_table)
