"""Rows of a cluster's members, and its evidence, that come in another batch than the cluster does.

Workers stage a finding's rows table by table, a large bundle's some thousands at a time, and a
batch may be taken in between. Whether members are worth their place is said with their cluster: so
those that come before it wait for it, and those that come after it are known by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from schemas.tables import TABLES
from transforms.sinks.staging import stage_table

Key = tuple[str, Any, int]
"""Id, begin of the window (None in rows of an older version) and revision of a cluster."""

_WAIT_S = 60.0  # for a bundle to come to its end
_REMEMBERED = 100_000
_CLUSTERS = "flagged_clusters"


class Stragglers:
    """Sorts rows of tables that belong to clusters; lives as long as the process that commits.

    Args:
      staging: folder where rows that wait are staged again.
      clock: seconds.
    """

    def __init__(self, staging: str, clock: Callable[[], float]) -> None:
        self._staging = staging
        self._clock = clock
        self._passed: dict[Key, bool] = {}  # clusters of earlier batches, and whether they did
        self._bare: dict[Key, pa.Table] = {}  # rows of those of whose members none was there yet
        self._since: dict[Key, float] = {}
        self._waiting: list[tuple[str, pa.Table]] = []

    def sorted(
        self,
        table: str,
        rows: pa.Table,
        here: Mapping[Key, bool],
        is_flagged: Callable[[str, Any], bool],
        last: bool,
    ) -> pa.Table:
        """Those of a batch's rows that are worth their place.

        Args:
          table: name of their table.
          rows: with the columns cluster_id, window_start and revision.
          here: clusters of the batch, and whether each passes.
          is_flagged: whether a cluster was flagged before in a window, by which it is decided
            about rows whose cluster does not come.
          last: nothing comes any more, so nothing waits.
        """
        now, passes, waits = self._clock(), [], []
        for key in _keys(rows):
            passed = here.get(key, self._passed.get(key))
            if passed is None and (last or now - self._since.setdefault(key, now) >= _WAIT_S):
                passed = is_flagged(key[0], key[1])
            if passed is not None:
                self._since.pop(key, None)
            passes.append(passed is True)
            waits.append(passed is None)
        if any(waits):
            self._waiting.append((table, rows.filter(pa.array(waits, pa.bool_()))))
        return rows.filter(pa.array(passes, pa.bool_()))

    def begin(self) -> None:
        """Begins with a batch; one that could not be written comes again."""
        self._waiting = []

    def overtook(self, members: pa.Table) -> pa.Table:
        """Rows of clusters that came in an earlier batch than the first of these members of theirs,
        for whoever has to see both."""
        keys = dict.fromkeys(_keys(members))
        empty = TABLES[_CLUSTERS].arrow().empty_table()
        return pa.concat_tables([empty, *(self._bare[key] for key in keys if key in self._bare)])

    def done(self, here: Mapping[Key, bool], clusters: pa.Table, members: pa.Table) -> None:
        """Notes what has passed, and stages what waits once more, after a batch was written.

        Args:
          here: as of `sorted`.
          clusters, members: rows of the batch that passed.
        """
        for key, passed in here.items():
            self._passed.pop(key, None)
            self._passed[key] = passed
        there = set(_keys(members))
        statuses = clusters["status"].to_pylist()
        for i, (key, status) in enumerate(zip(_keys(clusters), statuses, strict=True)):
            if status != "resolved" and key not in there:
                self._bare[key] = clusters.take([i])
        for key in there & self._bare.keys():
            del self._bare[key]
        for known in (self._passed, self._bare):
            for key in list(known)[: max(0, len(known) - _REMEMBERED)]:
                del known[key]
        waiting, self._waiting = self._waiting, []
        for table, rows in waiting:
            stage_table(table, rows, self._staging)


def _keys(rows: pa.Table) -> list[Key]:
    columns = (rows[name].to_pylist() for name in ("cluster_id", "window_start", "revision"))
    return [
        (str(name), start, int(revision)) for name, start, revision in zip(*columns, strict=True)
    ]
