"""What travels between stages is pickled as a call with its fields, and comes back as it was."""

from __future__ import annotations

import pickle
from dataclasses import fields
from typing import Any

import pytest

from transforms.clusters.elements import Cluster, ClusterMember
from transforms.clusters.features import GroupRow, Member
from transforms.clusters.links import Linkable
from transforms.clusters.signatures import Content
from transforms.scoring.handler import Scored
from transforms.scoring.reason import Reason


@pytest.mark.parametrize(
    "kind", [Cluster, ClusterMember, Content, GroupRow, Linkable, Member, Reason, Scored]
)
def test_it_is_pickled_by_its_fields(kind: Any) -> None:
    names = [field.name for field in fields(kind)]
    one = kind(*range(len(names)))
    assert one.__reduce__() == (kind, tuple(range(len(names))))
    again = pickle.loads(pickle.dumps(one))
    assert [getattr(again, name) for name in names] == list(range(len(names)))
