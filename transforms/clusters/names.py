"""A cluster keeps its name while it grows, is joined to another, or falls apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from transforms.ingest.hashing import hash64


def cluster_id(founder: str) -> str:
    """A cluster's first id, from the account that was there first."""
    return _named("cluster\x1f" + founder)


def _named(text: str) -> str:
    return f"c-{hash64(text):016x}"


class Names(NamedTuple):
    """What `keep_ids` says.

    Attributes:
      ids: of each group, by the id it would have had as a new one.
      gone: ids that no group has any more; each to the id of the group that most of its accounts
        are in now.
    """

    ids: dict[str, str]
    gone: dict[str, str]


def keep_ids(previous: Mapping[str, str], groups: Mapping[str, Sequence[str]]) -> Names:
    """Names groups of accounts, after what their members were called before where that can be.

    A group takes the id that most of its members had. Of two groups that want one the larger part
    gets it, so after a split the larger part goes on, and after a joining the larger group; of
    equal ones that with the earlier account. An id of several accounts never goes to one account
    alone. The result does not depend on the order of groups.

    Args:
      previous: account to the id it was in; accounts that were in none are left out.
      groups: disjoint, of one account and more, each oldest first, by the id of a new group: that
        of its founder.
    """
    sizes = Counter(previous.values())
    wishes = sorted(
        (-len(places), places[0], old, new)
        for new, group in groups.items()
        for old, places in _places(previous, group).items()
    )
    ids: dict[str, str] = {}
    taken: set[str] = set()
    for _, _, old, new in wishes:
        alone = len(groups[new]) == 1
        if new not in ids and old not in taken and not (alone and sizes[old] > 1):
            ids[new] = old
            taken.add(old)
    alive = frozenset(taken)
    taken.update(sizes)
    for new in sorted(set(groups) - set(ids)):
        ids[new] = _fresh(new, taken)
        taken.add(ids[new])
    gone: dict[str, str] = {}
    for _, _, old, new in wishes:
        if old not in alive:
            gone.setdefault(old, ids[new])
    return Names(ids, gone)


def _places(previous: Mapping[str, str], group: Sequence[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place, account in enumerate(group):
        if account in previous:
            found.setdefault(previous[account], []).append(place)
    return found


def _fresh(wanted: str, taken: set[str]) -> str:
    """The wanted id, or the first of those made from it that nobody has or had."""
    name, turn = wanted, 1
    while name in taken:
        turn += 1
        name = _named(f"{wanted}\x1f{turn}")
    return name
