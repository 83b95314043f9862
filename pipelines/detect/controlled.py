"""Findings of what both the policy and the control of false discoveries flag."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam

from pipelines.detect.findings import judged_again, taken_back
from transforms.alerts.control import ControlDiscoveries, Verdict
from transforms.alerts.policy import AlertPolicy
from transforms.clusters.links import cluster_id
from transforms.clusters.rows import Finding, cluster_finding, single_finding
from transforms.clusters.transforms import AccountProfile, Cluster, Found, Versioned
from transforms.scoring.handler import Scored
from transforms.sessions.endless import CombineNowAndThen


@dataclass(eq=False)
class ControlledFindings(beam.PTransform):  # type: ignore[misc]
    """As `Findings`, of what is also a discovery of its window.

    A window's tests are its clusters and the accounts that share nothing. In a stream all of them
    are judged anew when the level of their window changes.

    Attributes:
      policy: decides first.
      run_id: for the rows.
      control: decides on what the policy flags.
    """

    policy: AlertPolicy
    run_id: str
    control: ControlDiscoveries

    def expand(self, found: Found) -> beam.PCollection[Finding]:
        control = self.control
        endless = control.early_firing_ms > 0
        clusters, singles = found
        tests = (
            clusters | "ClusterTests" >> beam.FlatMap(cluster_tests, endless),
            singles | "SingleTests" >> beam.Map(_test),
        )
        decided = tests | "Tests" >> beam.Flatten() | "Control" >> control
        scored = (clusters, singles) | "Together" >> beam.Flatten()
        if not endless:
            # What the policy does not flag needs no verdict; in a stream it may have been flagged.
            scored = (
                scored
                | "Suspicious" >> beam.Filter(lambda s, p: s.p_value <= p, self.policy.max_p)
                | "LeaveWindows" >> beam.WindowInto(beam.window.GlobalWindows())
            )
        judged = (
            (scored | "Named" >> beam.Map(lambda s: (name_of(s.item), s)), decided)
            | "ScoresAndVerdicts" >> beam.Flatten()
            | "NewestOfEach"
            >> CombineNowAndThen(
                JoinVerdicts(),
                control.window_ms if endless else 0,
                control.early_firing_ms,
                control.allowed_lateness_ms,
            )
            | "Judge" >> beam.FlatMap(judged_by_both, self.policy, self.run_id, endless)
        )
        if not endless:
            return judged
        back = clusters | "TakeBack" >> beam.FlatMap(taken_back, self.policy, self.run_id)
        return (judged, back) | "AndTakenBack" >> beam.Flatten()


def name_of(item: Cluster | AccountProfile) -> str:
    """Of the test of a cluster, or of an account that is alone, in its window."""
    own = item.cluster_id if isinstance(item, Cluster) else cluster_id(item.account)
    return f"{item.window_start_ms}/{own}"


def _events(item: Cluster | AccountProfile) -> int:
    return item.row.pool.events if isinstance(item, Cluster) else item.sketch.events


def _test(scored: Scored[Any]) -> Versioned[float | None]:
    return Versioned(name_of(scored.item), _events(scored.item), scored.p_value)


def cluster_tests(scored: Scored[Cluster], endless: bool) -> Iterator[Versioned[float | None]]:
    """The test of a cluster; in a stream its members may have been tested alone before."""
    own = _test(scored)
    yield own
    for member in scored.item.members if endless else ():
        alone = name_of(member.scored.item)
        if alone != own.name:
            yield Versioned(alone, own.version, None)


_Joined = tuple[Scored[Any] | None, Verdict | None]


class JoinVerdicts(beam.CombineFn):  # type: ignore[misc]
    """The newest scores and the newest verdict of one name."""

    def create_accumulator(self) -> _Joined:
        return None, None

    def add_input(self, accumulator: _Joined, element: Scored[Any] | Verdict) -> _Joined:
        scored, verdict = accumulator
        if isinstance(element, Verdict):
            if verdict is None or element.version >= verdict.version:
                verdict = element
        elif scored is None or _events(element.item) >= _events(scored.item):
            scored = element
        return scored, verdict

    def merge_accumulators(self, accumulators: Iterable[_Joined]) -> _Joined:
        merged: _Joined = (None, None)
        for parts in accumulators:
            for part in parts:
                if part is not None:
                    merged = self.add_input(merged, part)
        return merged

    def extract_output(self, accumulator: _Joined) -> _Joined:
        return accumulator


def judged_by_both(
    element: tuple[str, _Joined], policy: AlertPolicy, run_id: str, endless: bool
) -> Iterator[Finding]:
    """A finding of what is a discovery; in a stream one that says resolved of what is none."""
    scored, verdict = element[1]
    # In a stream one comes before the other does; both are there soon.
    if scored is None or (verdict is None and policy.flags(scored.p_value)):
        return
    judge = cluster_finding if isinstance(scored.item, Cluster) else single_finding
    finding = None
    if verdict is not None and scored.p_value <= verdict.cut:
        finding = judge(scored, policy, run_id)
    if finding is None and endless:
        (finding,) = judged_again(scored, judge, replace(policy, max_p=-1.0), run_id)
    if finding is not None:
        if verdict is not None:
            finding.cluster.update(q_value=verdict.q_value)
        yield finding
