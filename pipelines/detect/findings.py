"""From scored clusters and accounts to findings; in a stream a finding can be taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import apache_beam as beam
import numpy as np
from numpy.typing import NDArray

from transforms.alerts.policy import AlertBudget, AlertPolicy
from transforms.clusters.elements import AccountProfile, Cluster, version_of
from transforms.clusters.names import cluster_id
from transforms.clusters.overtaken import DropOvertaken, Keyed
from transforms.clusters.rows import Finding, finding_of, pool_of
from transforms.clusters.singles import Singles
from transforms.clusters.together import FoundTogether
from transforms.clusters.transforms import Found
from transforms.coverage.cell_map import cell_tiles, coverage_records
from transforms.embedding.labels import CapabilityTable
from transforms.embedding.space import space_name
from transforms.scoring.bundle import Bundle
from transforms.scoring.handler import Scored, VerifiedBundle
from transforms.scoring.usual import Usual
from transforms.sharing.evidence import evidence_row
from transforms.sinks.known_clusters import RESOLVED


@dataclass(frozen=True, slots=True)
class Judge:
    """Makes findings.

    Attributes:
      policy: decides what is flagged, and how severe it is.
      run_id: for the rows.
      history: that capabilities are compared with.
      usual: that coverage is compared with.
      tiles: int64 of shape (cells, 2), where the cells are on the map of coverage.
      space, embedding_model: that sketches are made in.
    """

    policy: AlertPolicy
    run_id: str
    history: CapabilityTable
    usual: Usual = field(default_factory=Usual)
    tiles: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    space: str = ""
    embedding_model: str = ""

    def flagged(self, scored: Scored[Any]) -> Iterator[Finding]:
        """A finding of what the policy flags, with its map, which would fill the tables of the
        others, and with what other labs might use of it."""
        if self.policy.flags(scored.p_value):
            finding = finding_of(scored, self.policy, self.run_id, self.history)
            pool = pool_of(scored.item)
            finding.cluster.update(coverage=coverage_records(pool, self.usual.of(pool), self.tiles))
            if isinstance(scored.item, Cluster):
                row = evidence_row(scored, self.run_id, self.space, self.embedding_model)
                finding = finding._replace(evidence=(row,))
            yield finding

    def judged_again(self, scored: Scored[Any]) -> Iterator[Finding]:
        """A finding in any case; its status says when the policy does not flag it."""
        yield from (
            self.flagged(scored) if self.policy.flags(scored.p_value) else [self.resolved(scored)]
        )

    def resolved(self, scored: Scored[Any]) -> Finding:
        """A finding that says that there is none any more."""
        finding = finding_of(scored, self.policy, self.run_id, self.history)
        finding.cluster.update(status=RESOLVED, severity="low")
        return finding

    def taken_back(self, scored: Scored[Any]) -> Iterator[Finding]:
        """Resolves clusters that are no more, under their own names, where most of their accounts
        are.

        The revision is newer than all that the old one had.
        """
        for old in scored.item.absorbed:
            row = self.resolved(scored).cluster
            row.update(
                merged_into=row["cluster_id"], cluster_id=old.cluster_id, revision=old.revision
            )
            yield Finding(row, [])


def name_of(item: Cluster | AccountProfile) -> str:
    """Of the test of a cluster, or of an account that is alone, in its window."""
    if isinstance(item, Cluster):
        return name_in(item, item.cluster_id)
    return name_in(item, item.alone_as or cluster_id(item.account))


def name_in(item: Cluster | AccountProfile, own: str) -> str:
    """A name in the window of an item."""
    return name_in_window(item.window_start_ms, own)


def name_in_window(start_ms: int, own: str) -> str:
    """A name in the window that begins then."""
    return f"{start_ms}/{own}"


Judging = Callable[[Judge, Any], Iterator[Finding]]


class JudgeFn(beam.DoFn):  # type: ignore[misc]
    """Judges one element after the other, with the bundle's history."""

    def __init__(
        self,
        judging: Judging,
        policy: AlertPolicy,
        run_id: str,
        bundle: VerifiedBundle,
        budget: AlertBudget | None = None,
    ) -> None:
        self._judging = judging
        self._verified = bundle
        self._budget = budget
        self._judge = Judge(policy, run_id, CapabilityTable())

    def setup(self) -> None:
        self._follow(self._verified.load())

    def start_bundle(self) -> None:
        bundle = self._verified.now(self._bundle)
        if bundle is not self._bundle:
            self._follow(bundle)

    def _follow(self, bundle: Bundle) -> None:
        """Judges by what a bundle knows: its history, and the threshold of an alert budget."""
        self._bundle = bundle
        policy = self._judge.policy
        if self._budget is not None:
            policy = replace(policy, max_p=self._budget.max_p_for(int(bundle.training["accounts"])))
        self._judge = replace(
            self._judge,
            policy=policy,
            history=bundle.capabilities,
            usual=bundle.usual,
            tiles=cell_tiles(bundle.space.codebook),
            space=space_name(bundle.space),
            embedding_model=bundle.space.embedding_model,
        )

    def process(self, element: Any) -> Iterator[Finding]:
        yield from self._judging(self._judge, element)


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
      bundle: whose history capabilities are compared with.
      budget: sets the policy's threshold by the bundle; None: it is as the policy has it.
    """

    policy: AlertPolicy
    run_id: str
    endless: bool
    bundle: VerifiedBundle
    budget: AlertBudget | None = None

    def expand(self, found: Found) -> beam.PCollection[Finding]:
        how = self.policy, self.run_id, self.bundle, self.budget
        judge = beam.ParDo(JudgeFn(Judge.judged_again if self.endless else Judge.flagged, *how))
        take_back = beam.ParDo(JudgeFn(Judge.taken_back, *how))
        if isinstance(found, FoundTogether):
            # The bundle of input that ends does not change, nor does what the policy flags.
            flagged = partial(Singles.up_to, max_p=self.policy.max_p)
            judged = found.each("Judge", flagged, judge)
            back = found.each("TakeBack", Singles.who_absorbed, take_back)
        else:
            # A cluster may come after the account that is left of it and has its name.
            named = found | "Scored" >> beam.Flatten() | "Named" >> beam.Map(_versioned)
            scored = named | "Newest" >> DropOvertaken()
            judged, back = scored | "Judge" >> judge, scored | "TakeBack" >> take_back
        return (judged, back) | "Together" >> beam.Flatten()


def _versioned(scored: Scored[Any]) -> Keyed:
    return name_of(scored.item), (version_of(scored.item), scored)
