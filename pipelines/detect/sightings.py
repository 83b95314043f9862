"""Matches with received indicators, as rows of the table `sightings`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from transforms.clusters.elements import AccountProfile, Cluster
from transforms.coverage.layout import Items
from transforms.scoring.handler import Scored
from transforms.sharing.indicators import Sighting, sighting_id
from transforms.sharing.watch.matching import Hit


def sightings_of(scored: Scored[Any], run_id: str) -> Iterator[dict[str, Any]]:
    """Rows of what the accounts of a cluster carry, or an account that is alone.

    A sketch does not know when a thing was first seen in it: times are those of the account's
    requests in the window. What is compared is seen in all of them, and a signature of a cluster in
    each of its members.
    """
    item: Cluster | AccountProfile = scored.item
    if isinstance(item, Cluster):
        for member in item.members:
            profile, hits = member.scored.item, (*member.membership.hits, *item.alike)
            yield from _rows(profile, hits, item.cluster_id, run_id)
    else:
        yield from _rows(item, item.hits, "", run_id)


def _rows(
    profile: AccountProfile, hits: Sequence[Hit], cluster_id: str, run_id: str
) -> Iterator[dict[str, Any]]:
    sketch = profile.sketch
    for hit in hits:
        count = sketch.events
        if hit.value:
            hashes, counts = sketch.items(Items[hit.kind.upper()])
            value = np.uint64(int(hit.value, 16))
            at = int(np.searchsorted(hashes, value))
            if at == len(hashes) or hashes[at] != value:
                # In a stream a profile may be newer than what links it, and the thing no more among
                # those that are kept: what links it next says so.
                continue
            count = int(counts[at])
        yield Sighting(
            sighting_id(hit.indicator_id, profile.account, profile.window_start_ms),
            hit.indicator_id,
            profile.account,
            cluster_id,
            sketch.first_ms,
            sketch.last_ms,
            count,
            hit.similarity,
            run_id,
        ).to_row()
