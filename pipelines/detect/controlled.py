"""Findings of what both the policy and the control of false discoveries flag."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import apache_beam as beam
import numpy as np

from pipelines.detect.findings import Judge, JudgeFn, name_in, name_of
from transforms.alerts.control import ControlDiscoveries, Plain, Reported, Tested, Verdict
from transforms.alerts.policy import AlertPolicy
from transforms.clusters.elements import Cluster, version_of
from transforms.clusters.newest import NewestPair, Pair, Versioned
from transforms.clusters.rows import Finding
from transforms.clusters.singles import Singles, versions_of
from transforms.clusters.together import FoundTogether
from transforms.clusters.transforms import Found
from transforms.scoring.handler import Scored, VerifiedBundle
from transforms.sessions.now_and_then import CombineNowAndThen
from transforms.sessions.shard_log import SHARDS
from transforms.sharing.watch.evidence import reporting


@dataclass(eq=False)
class ControlledFindings(beam.PTransform):  # type: ignore[misc]
    """As `Findings`, of what is also a discovery of its window.

    A window's tests are its clusters and the accounts that share nothing. The policy decides by the
    p-value that other labs' reports have made smaller, the control by the one without. In a stream
    all of them are judged anew when the level of their window changes.

    Attributes:
      policy: decides first.
      run_id: for the rows.
      bundle: whose history capabilities are compared with.
      control: decides on what the policy flags.
      earlier: names of what earlier runs flagged, and did not resolve; see `name_of`.
      shards: as of `CombineNowAndThen`.
    """

    policy: AlertPolicy
    run_id: str
    bundle: VerifiedBundle
    control: ControlDiscoveries
    earlier: frozenset[str] = frozenset()
    shards: int = SHARDS

    def expand(self, found: Found) -> beam.PCollection[Finding]:
        control = self.control
        endless = control.early_firing_ms > 0
        how = self.policy, self.run_id, self.bundle
        tests = beam.FlatMap(hypotheses_of, endless)
        take_back = beam.ParDo(JudgeFn(Judge.taken_back, *how))
        if isinstance(found, FoundTogether):
            leave = beam.WindowInto(beam.window.GlobalWindows())
            # What the policy does not flag needs no verdict; in a stream it may have been flagged.
            max_p = self.policy.max_p
            flagged = beam.Filter(lambda s, p: s.p_value <= p, max_p)
            scored = found.each("Suspicious", partial(Singles.up_to, max_p=max_p), flagged)
            scored |= "LeaveWindows" >> leave
            of_clusters = found.clusters | "Tests_clusters" >> tests
            of_singles = found.singles | "Tests_singles" >> beam.Map(plain_tests, control.cap)
            tested = (of_clusters, of_singles) | "Tests" >> beam.Flatten()
            back = found.each("TakeBack", Singles.who_absorbed, take_back)
            back |= "TakenBackLeaveWindows" >> leave
        else:
            together = found | "Together" >> beam.Flatten()
            tested = together | "Tests" >> tests
            scored = together | "Suspicious" >> beam.Filter(may_have_been_flagged, self.earlier)
            back = scored | "TakeBack" >> take_back
        decided = tested | "Control" >> control
        judging = partial(judged_by_both, endless=endless, earlier=self.earlier)
        judged = (
            (scored | "Named" >> beam.Map(lambda s: (name_of(s.item), s)), decided)
            | "ScoresAndVerdicts" >> beam.Flatten()
            | "NewestOfEach"
            >> CombineNowAndThen(
                JoinVerdicts(self.policy.max_p),
                control.window_ms if endless else 0,
                control.early_firing_ms,
                control.allowed_lateness_ms if endless else 0,
                order=control.order + 1,
                shards=self.shards,
            )
            | "Judge" >> beam.ParDo(JudgeFn(judging, *how))
        )
        return (judged, back) | "AndTakenBack" >> beam.Flatten()


def hypotheses_of(scored: Scored[Any], endless: bool) -> Iterator[Versioned[Tested]]:
    """The test of a cluster or of an account that is alone.

    In a stream a cluster's members may have been tested alone before, and so may clusters that are
    no more: they are tested no more. Whose founder has left it may go on under the founder's name.
    """
    item, version = scored.item, version_of(scored.item)
    own, tested = name_of(item), without_reports(scored)
    said = item.reported.said if isinstance(item, Cluster) else ()
    yield Versioned(own, version, Reported(tested, reporting(said)) if said else tested)
    if endless:
        members = item.members if isinstance(item, Cluster) else ()
        before = {name_of(member.scored.item) for member in members}
        before |= {name_in(item, old.cluster_id) for old in item.absorbed}
        taken = members[0].membership.taken if members else ()
        for name in sorted(before - {own} - {name_in(item, other) for other in taken}):
            yield Versioned(name, version, None)


def plain_tests(singles: Singles, cap: float) -> Plain:
    """The tests of accounts that are alone, whom nobody tested before: `hypotheses_of` each.

    Args:
      singles: the accounts.
      cap: as of the control.
    """
    small = singles.up_to(cap)
    p = singles.scored.scores.p_value
    return Plain(
        versions_of(singles),
        tuple(name_of(scored.item) for scored in small),
        np.array([scored.p_value for scored in small], np.float64),
        p[~(p <= cap)],
    )


def without_reports(scored: Scored[Any]) -> float:
    """The p-value by what we see ourselves, which is what is tested."""
    alone = scored.item.p_value_alone if isinstance(scored.item, Cluster) else None
    return scored.p_value if alone is None else float(alone)


class JoinVerdicts(NewestPair):
    """The newest scores and the newest verdict of one name, and whether it was ever suspicious."""

    def __init__(self, max_p: float) -> None:
        """Takes for suspicious what has a p-value of at most `max_p`."""
        self._max_p = max_p

    def which(self, element: Scored[Any] | Verdict) -> tuple[int, int]:
        if isinstance(element, Verdict):
            return 1, element.version
        return 0, version_of(element.item)

    def is_remarkable(self, element: Scored[Any] | Verdict) -> bool:
        return not isinstance(element, Verdict) and element.p_value <= self._max_p


def may_have_been_flagged(scored: Scored[Any], earlier: frozenset[str]) -> bool:
    """Whether a cluster, or an account that is alone, is to be judged at all in a stream: it is
    suspicious, or was, in this run or in an earlier one."""
    item = scored.item
    return isinstance(item, Cluster) or item.is_remarkable or name_of(item) in earlier


def judged_by_both(
    judge: Judge,
    element: tuple[str, Pair],
    endless: bool,
    earlier: frozenset[str] = frozenset(),
) -> Iterator[Finding]:
    """A finding of what is a discovery; in a stream one that says resolved of what is none, if it
    may have been flagged before: most never were."""
    name, (scored, verdict, suspicious) = element
    # In a stream one comes before the other does; both are there soon.
    if scored is None or (verdict is None and judge.policy.flags(scored.p_value)):
        return
    if verdict is not None and without_reports(scored) <= verdict.cut:
        found = list(judge.flagged(scored))
    else:
        may_have_been = endless and (suspicious or name in earlier)
        found = [judge.resolved(scored)] if may_have_been else []
    for finding in found:
        if verdict is not None:
            finding.cluster.update(q_value=verdict.q_value)
        yield finding
