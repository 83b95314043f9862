"""What travels between linking, pooling and scoring: accounts, members, clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from transforms.clusters.features import GroupRow
from transforms.clusters.membership import Absorbed, Membership
from transforms.coverage.sketch import CoverageSketch
from transforms.pickling import pickled_by_fields
from transforms.scoring.handler import Scored
from transforms.sharing.watch.evidence import NOTHING_REPORTED, Reported
from transforms.sharing.watch.matching import Hit

_EVENT_BITS = 48


class AccountProfile(NamedTuple):
    """An account over one profile window.

    Attributes:
      alone_as, absorbed: of an account that was linked to nobody, its name as a cluster of one, and
        clusters that fell apart and of which it is left.
      hits: received indicators that it carries.
      linked: version of the report of linking that says so.
      revision_offset: of its membership, where it is what is left of a cluster.
      is_remarkable: whether it, or a cluster that it was in, may have been flagged; where nobody
        has looked, it may.
    """

    account: str
    window_start_ms: int
    window_end_ms: int
    sketch: CoverageSketch
    pane: str = "on_time"
    alone_as: str = ""
    absorbed: tuple[Absorbed, ...] = ()
    hits: tuple[Hit, ...] = ()
    linked: int = 0
    revision_offset: int = 0
    is_remarkable: bool = True

    @property
    def revision(self) -> int:
        """Of its rows as a cluster of one; the largest counts."""
        return self.sketch.events + self.revision_offset


@pickled_by_fields
@dataclass(frozen=True, slots=True, eq=False)
class ClusterMember:
    """One account of a cluster with its own result and its links."""

    scored: Scored[AccountProfile]
    membership: Membership

    @property
    def account(self) -> str:
        return self.scored.item.account


@pickled_by_fields
@dataclass(frozen=True, slots=True, eq=False)
class Cluster:
    """A group of linked accounts; its members oldest first.

    Attributes:
      absorbed: clusters that are no more, most of whose accounts are in this one.
      reported: what other labs' indicators say of it.
      p_value_alone: without what they say; None where that changes nothing.
      alike: indicators of other labs that it is like, as a whole.
    """

    cluster_id: str
    window_start_ms: int
    window_end_ms: int
    members: tuple[ClusterMember, ...]
    row: GroupRow
    absorbed: tuple[Absorbed, ...] = ()
    reported: Reported = NOTHING_REPORTED
    p_value_alone: float | None = None
    alike: tuple[Hit, ...] = ()

    @property
    def revision(self) -> int:
        """Of its rows; the largest counts."""
        return self.row.pool.events + self.members[0].membership.revision_offset


def version_of(item: Cluster | AccountProfile) -> int:
    """Grows with what is known of an item: with each report of linking, then with its events.

    What a report of linking has taken apart may come out once more after what it made of it, and
    with more events than that; so events alone do not tell which of two counts.
    """
    if isinstance(item, Cluster):
        return (item.members[0].membership.version << _EVENT_BITS) + item.row.pool.events
    return version_alone(item.linked, item.sketch.events)


def version_alone(linked: int, events: int) -> int:
    """`version_of` an account in no cluster."""
    return (linked << _EVENT_BITS) + events
