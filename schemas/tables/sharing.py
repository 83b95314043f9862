"""What is shared between labs, and where it was seen."""

from __future__ import annotations

from schemas.model import Table
from schemas.tables.columns import may, must

INDICATORS = Table(
    "indicators",
    "What was shared with other labs or received from them; nothing that names a customer.",
    ("indicator_id",),
    "valid_from",
    ("kind", "direction"),
    (
        must("indicator_id", "STRING", "the same at every lab"),
        must("direction", "STRING", "shared or received"),
        must(
            "kind",
            "STRING",
            "prefix_scaffold, suffix_scaffold, opening_sentence, closing_sentence, network, "
            "client, payment (never shared), coverage or behaviour",
        ),
        may("value", "STRING", "keyed hash, hex, or a coarse public value such as a network"),
        may("sketch", "BYTES", "coverage, where the kind is one that is compared and not equal"),
        may("provider", "STRING", "lab that made it"),
        may(
            "cluster_id",
            "STRING",
            "name, given by the lab that made it, of the campaign; says nothing to others",
        ),
        may("confidence", "INT64", "of the lab that made it", "0 to 100"),
        may("marking", "STRING", "traffic light protocol: clear, green, amber, amber+strict, red"),
        must("valid_from", "TIMESTAMP", "from when it holds", "UTC"),
        may("valid_until", "TIMESTAMP", "until when it holds; empty for ever", "UTC"),
        may("revoked", "BOOL", "whether the lab that made it took it back"),
        may("created", "TIMESTAMP", "when its first version was made", "UTC"),
        may("modified", "TIMESTAMP", "when this version was made; the latest counts", "UTC"),
        may("revision", "INT64", "version: 1, 2, …", "number"),
        may("method", "STRING", "how it was made"),
        may("source", "STRING", "who brought it here: own, or the name of a feed"),
    ),
)

SIGHTINGS = Table(
    "sightings",
    "Where an indicator was seen in our own traffic.",
    ("sighting_id",),
    "first_seen",
    ("indicator_id", "account_id"),
    (
        must("sighting_id", "STRING", "stable name, the same for the same match"),
        must("indicator_id", "STRING", "indicator that matched"),
        may("account_id", "STRING", "account in which it was seen"),
        may("cluster_id", "STRING", "cluster of that account"),
        must("first_seen", "TIMESTAMP", "first match", "UTC"),
        must("last_seen", "TIMESTAMP", "last match", "UTC"),
        may("match_count", "INT64", "requests that matched", "requests"),
        may("similarity", "FLOAT64", "of compared kinds; 1 where values are equal", "0 to 1"),
        may("run_id", "STRING", "run that wrote the row"),
    ),
)
