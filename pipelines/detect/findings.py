"""From scored clusters and accounts to findings; in a stream a finding can be taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam

from transforms.alerts.policy import AlertPolicy
from transforms.clusters.rows import Finding, cluster_finding, single_finding
from transforms.clusters.transforms import Found
from transforms.scoring.handler import Scored
from transforms.sinks.commit import RESOLVED

_Judge = Callable[[Scored[Any], AlertPolicy, str], Finding | None]


@dataclass(eq=False)
class Findings(beam.PTransform):  # type: ignore[misc]
    """Findings of what the policy flags.

    A cluster that is no more, because its accounts are now elsewhere, is resolved under its name.

    In a stream a cluster is scored anew while it grows, and one that was flagged may be so no more;
    nobody should take its older revisions for what holds. So there is a finding of everything that
    was judged, and those that are not flagged say `resolved`. `transforms.sinks.commit` knows what
    was flagged before, also before a restart, and lets only those pass that take something back.

    Attributes:
      policy: decides.
      run_id: for the rows.
      endless: whether clusters may be scored again.
    """

    policy: AlertPolicy
    run_id: str
    endless: bool

    def expand(self, found: Found) -> beam.PCollection[Finding]:
        judged = []
        kinds = (("Clusters", found.clusters, cluster_finding),
                 ("Singles", found.singles, single_finding))  # fmt: skip
        for kind, scored, judge in kinds:
            judged.append(
                scored
                | f"Judge{kind}"
                >> beam.FlatMap(
                    judged_again if self.endless else _judged, judge, self.policy, self.run_id
                )
            )
            judged.append(
                scored
                | f"TakeBack{kind}" >> beam.FlatMap(taken_back, judge, self.policy, self.run_id)
            )
        return judged | "Together" >> beam.Flatten()


def _judged(
    scored: Scored[Any], judge: _Judge, policy: AlertPolicy, run_id: str
) -> Iterator[Finding]:
    finding = judge(scored, policy, run_id)
    if finding is not None:
        yield finding


def judged_again(
    scored: Scored[Any], judge: _Judge, policy: AlertPolicy, run_id: str
) -> Iterator[Finding]:
    """A finding in any case; its status says when the policy does not flag it."""
    finding = judge(scored, policy, run_id)
    if finding is None:
        finding = judge(scored, replace(policy, max_p=1.0), run_id)
        assert finding is not None  # a p-value is at most 1
        finding.cluster.update(status=RESOLVED, severity="low")
    yield finding


def taken_back(
    scored: Scored[Any], judge: _Judge, policy: AlertPolicy, run_id: str
) -> Iterator[Finding]:
    """Resolves clusters that are no more, under their own names, where most of their accounts are.

    The revision is newer than all that the old one had.
    """
    for old in scored.item.absorbed:
        finding = judge(scored, replace(policy, max_p=1.0), run_id)
        assert finding is not None  # a p-value is at most 1
        row = finding.cluster
        row.update(
            merged_into=row["cluster_id"],
            cluster_id=old.cluster_id,
            status=RESOLVED,
            severity="low",
            revision=max(old.revision, row["revision"]),
        )
        yield Finding(row, [])
