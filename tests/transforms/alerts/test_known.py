"""What known texts say of a cluster, and what becomes of its severity."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.sketches import harvester, sketch_of
from transforms.alerts.known import EVALUATION, REPLAY, KnownPolicy
from transforms.alerts.policy import SEVERITIES
from transforms.coverage.sketch import CoverageSketch, merge

POLICY = KnownPolicy(
    (("exam", "benchmark"), ("leak", "extraction"), ("quiz", "benchmark"), ("faq", "other"))
)


def asked(exam: int = 0, leak: int = 0, quiz: int = 0, faq: int = 0, no: int = 0) -> CoverageSketch:
    labels = np.repeat(np.array([0, 1, 2, 3, -1], np.int8), [exam, leak, quiz, faq, no])
    return sketch_of(harvester("h", 1, len(labels), known=labels))


@pytest.mark.parametrize(
    ("requests", "tactics", "severity"),
    [
        ({"no": 100}, [], "high"),
        ({"exam": 80, "no": 20}, [EVALUATION], "low"),
        ({"exam": 79, "no": 21}, [], "high"),
        ({"exam": 50, "quiz": 30, "no": 20}, [EVALUATION], "low"),
        ({"leak": 20, "no": 80}, [REPLAY], "high"),
        ({"leak": 19, "no": 81}, [], "high"),
        ({"leak": 20, "exam": 80}, [REPLAY], "high"),  # a benchmark is no cover for a replay
        ({"faq": 100}, [], "high"),
        ({"exam": 19}, [], "high"),  # too few to say
    ],
)
def test_names_and_severities(requests: dict[str, int], tactics: list[str], severity: str) -> None:
    known = POLICY.look(asked(**requests), "high")
    assert (known.tactics, known.severity) == (tactics, severity)
    assert bool(known.severity_reason) == (tactics == [EVALUATION])


def test_the_reason_names_the_benchmarks_and_the_share() -> None:
    known = POLICY.look(asked(exam=30, quiz=60, no=10), "critical")
    assert known.severity_reason.startswith("90% of its requests are in public benchmarks")
    assert "(quiz, exam)" in known.severity_reason


def test_what_is_low_already_says_why_all_the_same() -> None:
    assert POLICY.look(asked(exam=100), "low").severity_reason


def test_records_have_requests_and_shares_most_first() -> None:
    assert POLICY.look(asked(exam=10, leak=30, no=60), "low").texts == [
        {"name": "leak", "kind": "extraction", "requests": 30, "share": 0.3},
        {"name": "exam", "kind": "benchmark", "requests": 10, "share": 0.1},
    ]


def test_without_collections_nothing_is_said() -> None:
    known = KnownPolicy().look(asked(exam=50, no=50), "medium")
    assert known == ([], [], "medium", "")


COUNTS = st.fixed_dictionaries(
    {name: st.integers(0, 40) for name in ("exam", "leak", "quiz", "faq")} | {"no": st.just(5)}
)


@given(st.lists(COUNTS, min_size=1, max_size=4), st.sampled_from(SEVERITIES))
def test_what_is_said_depends_on_the_sums_alone(parts: list[dict[str, int]], severity: str) -> None:
    together = {name: sum(part[name] for part in parts) for name in parts[0]}
    merged = merge([asked(**part) for part in parts])
    known = POLICY.look(merged, severity)
    assert known == POLICY.look(asked(**together), severity)
    assert {t["name"]: t["requests"] for t in known.texts} == {
        name: n for name, n in together.items() if n and name != "no"
    }
    assert SEVERITIES.index(known.severity) <= SEVERITIES.index(severity)
