"""What members of a cluster share and are not linked by: of use to other labs, who are told of it.

A sentence around what is asked is more of a campaign's own than its first eight words. Whoever
shares it shares these words, too, and is linked by them; what it adds is that fewer others have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from transforms.clusters.links import NOTHING, Link, Linkable
from transforms.clusters.membership import Membership
from transforms.coverage import layout
from transforms.coverage.layout import Items

KINDS = (Items.OPENING_SENTENCE, Items.CLOSING_SENTENCE)
_MOST = 5  # that a member is told


def with_also_shared(
    memberships: Sequence[tuple[str, Membership]], accounts: Sequence[Linkable]
) -> list[tuple[str, Membership]]:
    """Memberships with the things of `KINDS` that at least two accounts of their cluster carry.

    Args:
      memberships: of all accounts of a window.
      accounts: the same ones.
    """
    place = {account.account: i for i, account in enumerate(accounts)}
    clusters = {name: i for i, name in enumerate({m.cluster_id for _, m in memberships})}
    cluster = np.zeros(len(accounts), np.int64)
    for account, membership in memberships:
        cluster[place[account]] = clusters[membership.cluster_id]
    owner = np.repeat(np.arange(len(accounts)), [len(account.things) for account in accounts])
    thing = np.concatenate([NOTHING, *(account.things for account in accounts)])
    own = np.isin(thing >> layout.HASH_BITS, [int(kind) for kind in KINDS])
    owner, thing = owner[own], thing[own]
    thing, of_thing, carriers = np.unique(thing, return_inverse=True, return_counts=True)
    pair = cluster[owner] * max(len(thing), 1) + of_thing
    _, of_pair, members = np.unique(pair, return_inverse=True, return_counts=True)
    members = members[of_pair]
    several = members > 1
    # Of an account the things that most members carry first; the hash decides between equals.
    order = np.lexsort((of_thing, -members, owner))
    found: dict[int, tuple[Link, ...]] = {}
    for i, at in groupby(order[several[order]].tolist(), key=owner.__getitem__):
        strongest = [int(of_thing[j]) for j in at][:_MOST]
        found[int(i)] = tuple(_link(int(thing[j]), int(carriers[j])) for j in strongest)
    return [
        (account, membership._replace(also_shared=found.get(place[account], ())))
        for account, membership in memberships
    ]


def _link(thing: int, accounts: int) -> Link:
    name = Items(thing >> int(layout.HASH_BITS)).name.lower()
    return Link(name, f"{thing & int(layout.HASH_MASK):014x}", accounts, 0.0)
