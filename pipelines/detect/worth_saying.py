"""Of findings in a stream, those that say something: what is flagged, and what takes that back.

Where a launcher commits, `transforms.sinks.commit` does this with a file. Where workers write the
tables themselves, it is done here, with state for each cluster and window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam import coders
from apache_beam.transforms import userstate
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.utils.timestamp import Timestamp

from transforms.clusters.rows import Finding
from transforms.sinks.known_clusters import RESOLVED


class Said(NamedTuple):
    """What is known of a cluster in its window.

    Attributes:
      flagged: lowest revision that was flagged; None: there was none.
      held: the newest finding that resolves it and was not passed on yet.
    """

    flagged: int | None = None
    held: Finding | None = None


def hear(said: Said, finding: Finding) -> tuple[Said, list[Finding]]:
    """What is known after one finding more, and what is to be passed on now.

    Findings may come in any order. In the end all that flag have passed, and of those that resolve
    the newest that is no older than some that flags; so of the row with the highest revision the
    last one says what holds, and of a cluster that was never flagged there is no row.

    >>> flag = Finding({"revision": 2, "status": "open"}, [])
    >>> resolve = Finding({"revision": 3, "status": "resolved"}, [])
    >>> said, now = hear(Said(), resolve)
    >>> now
    []
    >>> [f.cluster["revision"] for f in hear(said, flag)[1]]
    [2, 3]
    """
    revision = int(finding.cluster["revision"])
    if finding.cluster["status"] != RESOLVED:
        first = revision if said.flagged is None else min(said.flagged, revision)
        held, passed = said.held, [finding]
        if held is not None and int(held.cluster["revision"]) > first:
            passed, held = [finding, held], None
        return Said(first, held), passed
    # What takes a cluster back for another reason than its accounts has the revision that it had.
    if said.flagged is not None and revision >= said.flagged:
        return said, [finding]
    if said.held is None or revision > int(said.held.cluster["revision"]):
        return Said(said.flagged, finding), []
    return said, []


@dataclass(eq=False)
class WorthSaying(beam.PTransform):  # type: ignore[misc]
    """Drops findings that resolve what was never flagged; they leave their windows.

    Attributes:
      forget_ms: how long after the beginning of its window a cluster is remembered, by event time.
    """

    forget_ms: int

    def expand(self, findings: beam.PCollection[Finding]) -> beam.PCollection[Finding]:
        keyed: Any = beam.Map(_by_cluster).with_output_types(tuple[str, Any])
        return (
            findings
            | "LeaveWindows" >> beam.WindowInto(beam.window.GlobalWindows())
            | "ByCluster" >> keyed
            | "Hear" >> beam.ParDo(_HearFn(self.forget_ms))
        )


def _by_cluster(finding: Finding) -> tuple[str, Finding]:
    row = finding.cluster
    return f"{row['cluster_id']}@{_millis(row['window_start'])}", finding


def _millis(moment: datetime | int) -> int:
    return moment if isinstance(moment, int) else round(moment.timestamp() * 1000)


class _HearFn(beam.DoFn):  # type: ignore[misc]
    SAID = userstate.ReadModifyWriteStateSpec("said", coders.PickleCoder())
    OVER = userstate.TimerSpec("over", TimeDomain.WATERMARK)

    def __init__(self, forget_ms: int) -> None:
        self._forget_ms = forget_ms

    def process(
        self,
        element: tuple[str, Finding],
        said: Any = beam.DoFn.StateParam(SAID),
        over: Any = beam.DoFn.TimerParam(OVER),
    ) -> Iterator[Finding]:
        _, finding = element
        begins = _millis(finding.cluster["window_start"])
        known, passed = hear(said.read() or Said(), finding)
        said.write(known)
        over.set(Timestamp(micros=(begins + self._forget_ms) * 1000))
        yield from passed

    @userstate.on_timer(OVER)  # type: ignore[untyped-decorator]
    def forget(self, said: Any = beam.DoFn.StateParam(SAID)) -> None:
        said.clear()
