"""What of a cluster may be of use to other labs: gathered while its sketches are at hand.

A row of `cluster_evidence` stays at home. It has no account's numbers, only sums over accounts, and
what is shared with how many members have it and how many others do; `transforms.sharing.select`
decides what of it may leave.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DistilwatchError
from transforms.clusters.elements import Cluster
from transforms.clusters.links import DEFAULT_KINDS, LinkKind
from transforms.coverage.layout import MAX_CELLS, Items
from transforms.scoring.handler import Scored
from transforms.sharing.coverage import contributions

KINDS = (
    Items.PREFIX_SCAFFOLD,
    Items.SUFFIX_SCAFFOLD,
    Items.OPENING_SENTENCE,
    Items.CLOSING_SENTENCE,
    Items.NETWORK,
    Items.CLIENT,
)
MOST_THINGS = 20  # of one kind
_LEAST_MEMBERS = 2


class SharedThing(NamedTuple):
    """Something that members share.

    Attributes:
      kind, thing: name of its set in the sketch, and its hash, 14 hex digits.
      members: that carry it.
      others: accounts of the window that carry it and are not members.
    """

    kind: str
    thing: str
    members: int
    others: int


def evidence_row(
    scored: Scored[Cluster],
    run_id: str,
    space: str,
    embedding_model: str,
    kinds: Mapping[Items, LinkKind] = DEFAULT_KINDS,
) -> dict[str, Any]:
    """The row of a flagged cluster.

    Args:
      scored: the cluster.
      run_id: for the row.
      space, embedding_model: that its sketches were made in.
      kinds: how much of an account's requests must carry a thing for it to be the account's.
    """
    cluster = scored.item
    sketches = [m.scored.item.sketch for m in cluster.members]
    columns = zip(scored.columns, scored.features, scored.low, scored.high, scored.z, strict=True)
    features = [
        {"name": name, "value": value, "normal_low": low, "normal_high": high, "z": z}
        for name, *numbers in columns
        for value, low, high, z in [[float(n) for n in numbers]]
        if math.isfinite(value) and math.isfinite(z)
    ]
    return {
        "cluster_id": cluster.cluster_id,
        "revision": cluster.revision,
        "window_start": cluster.window_start_ms,
        "window_end": cluster.window_end_ms,
        "account_count": len(sketches),
        "features": features,
        "things": [one._asdict() for one in shared_things(cluster, kinds)],
        "coverage": pack(contributions(sketches)),
        "space": space,
        "embedding_model": embedding_model,
        "bundle_version": scored.bundle_version,
        "run_id": run_id,
    }


def shared_things(
    cluster: Cluster, kinds: Mapping[Items, LinkKind] = DEFAULT_KINDS
) -> list[SharedThing]:
    """What the members share and accounts elsewhere may, too, by kind, most members first.

    Only what linking saw: it has left out what benign accounts of the history share, and it knows
    how many accounts of the window carry a thing.
    """
    everywhere: dict[tuple[str, str], int] = {}
    for member in cluster.members:
        for link in (*member.membership.links, *member.membership.also_shared):
            everywhere[link.kind, link.thing] = link.accounts
    found = []
    for kind in KINDS:
        least = kinds[kind].least_share if kind in kinds else 0.0
        carried = []
        for member in cluster.members:
            sketch = member.scored.item.sketch
            hashes, counts = sketch.items(kind)
            carried.append(hashes[counts >= max(1.0, least * sketch.events)])
        values, members = np.unique(np.concatenate(carried), return_counts=True)
        own = [
            SharedThing(name, thing, int(m), max(everywhere[name, thing] - int(m), 0))
            for value, m in zip(values.tolist(), members.tolist(), strict=True)
            for name, thing in [(kind.name.lower(), f"{value:014x}")]
            if m >= _LEAST_MEMBERS and (name, thing) in everywhere
        ]
        found += sorted(own, key=lambda s: (-s.members, s.thing))[:MOST_THINGS]
    return found


def pack(total: NDArray[np.int64]) -> bytes:
    """A sum of contributions in few bytes; equal sums give equal bytes."""
    return zlib.compress(total.astype("<i8").tobytes(), 6)


def unpack(data: bytes) -> NDArray[np.int64]:
    """Reads what `pack` wrote: int64 of shape (1024,).

    Raises:
      DistilwatchError: when the bytes are not that.
    """
    size = 8 * MAX_CELLS
    try:
        raw = zlib.decompressobj().decompress(data, size + 1)
    except zlib.error:
        raw = b""
    if len(raw) != size:
        raise DistilwatchError(
            "the coverage of a cluster cannot be read",
            "table cluster_evidence",
            "run `distilwatch detect` again",
        )
    return np.frombuffer(raw, "<i8").astype(np.int64)
