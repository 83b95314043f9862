"""What the collections that its requests are from say of an account or cluster.

An evaluator and a harvester both ask broadly. Prompts that stand in a public benchmark are most
likely an evaluation; prompts that stand in the collection of a past extraction are that extraction
again. Neither proves anything: docs/known_texts.md says what evades it, and who could use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transforms.coverage.layout import Bins
from transforms.coverage.sketch import CoverageSketch

REPLAY, EVALUATION = "replay", "benchmark_evaluation"


class Known(NamedTuple):
    """What known texts say.

    Attributes:
      texts: collections that requests are in, most requests first, as records of `known_texts`.
      tactics: `REPLAY`, or `EVALUATION`, or none.
      severity: what becomes of the severity.
      severity_reason: why it is lowered; "" where it is not.
    """

    texts: list[dict[str, Any]]
    tactics: list[str]
    severity: str
    severity_reason: str


@dataclass(frozen=True, slots=True)
class KnownPolicy:
    """Names what known texts say, and lowers the severity of evaluations.

    Attributes:
      collections: name and kind of each, in the order of the labels of requests.
      replay_share: of requests in collections of kind extraction, from which it is a replay.
      benchmark_share: of requests in those of kind benchmark, from which it is an evaluation.
      min_requests: fewer requests say nothing.
    """

    collections: tuple[tuple[str, str], ...] = ()
    replay_share: float = 0.2
    benchmark_share: float = 0.8
    min_requests: int = 20

    def look(self, pool: CoverageSketch, severity: str) -> Known:
        """Looks at the requests of an account or cluster whose severity would be `severity`."""
        counts = pool.histogram(Bins.KNOWN, Bins.END)
        texts = self._records(counts, pool.events)
        if pool.events < self.min_requests:
            return Known(texts, [], severity, "")
        of_kind = {
            kind: sum(text["share"] for text in texts if text["kind"] == kind)
            for kind in ("extraction", "benchmark")
        }
        if of_kind["extraction"] >= self.replay_share:
            return Known(texts, [REPLAY], severity, "")
        if of_kind["benchmark"] < self.benchmark_share:
            return Known(texts, [], severity, "")
        names = ", ".join(text["name"] for text in texts if text["kind"] == "benchmark")
        reason = (
            f"{of_kind['benchmark']:.0%} of its requests are in public benchmarks ({names}): "
            "likely an evaluation"
        )
        return Known(texts, [EVALUATION], "low", reason)

    def _records(self, counts: NDArray[np.int64], events: int) -> list[dict[str, Any]]:
        found = [
            {"name": name, "kind": kind, "requests": int(n), "share": int(n) / events}
            for (name, kind), n in zip(self.collections, counts, strict=False)
            if n
        ]
        return sorted(found, key=lambda record: -record["requests"])
