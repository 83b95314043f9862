"""Windows of streams on Prism: they close however the watermark leaps, and not before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.test_stream import TestStream
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.windowed_value import PaneInfoTiming

from pipelines.parts import prism_options
from pipelines.prism import prism_running
from transforms.alerts.control import ControlDiscoveries, Rates
from transforms.clusters.newest import NewestByName, Versioned
from transforms.sessions.now_and_then import CombineNowAndThen

START, DAY, LATENESS_MS = 1_780_617_600, 86_400, 1_200_000


class Keep(beam.DoFn):  # type: ignore[misc]
    """Writes down what is reported, and in which pane."""

    def __init__(self, path: str) -> None:
        self._path = path

    def process(
        self,
        report: tuple[str, Any],
        pane: Any = beam.DoFn.PaneInfoParam,
        window: Any = beam.DoFn.WindowParam,
    ) -> None:
        said = [*report, (int(window.start) - START) // DAY, pane.timing]
        with Path(self._path).open("a") as file:
            file.write(json.dumps(said) + "\n")


def at(key: str, second: float) -> TimestampedValue:
    return TimestampedValue((key, 1), START + second)


def counted(prism: Path, folder: Path, stream: TestStream) -> list[list[Any]]:
    """Key, count, day and pane of what is reported of elements that are counted by day."""
    out = folder / "reports"
    with (
        prism_running(prism) as endpoint,
        beam.Pipeline(options=prism_options(endpoint, [], endless=True)) as pipeline,
    ):
        _ = (
            pipeline
            | stream.advance_watermark_to_infinity().with_output_types(tuple[str, int])
            | CombineNowAndThen(beam.combiners.CountCombineFn(), DAY * 1_000, 1_000, LATENESS_MS)
            | beam.ParDo(Keep(str(out)))
        )
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.mark.prism
@pytest.mark.slow
@pytest.mark.parametrize("to_the_end", [False, True])
def test_a_window_that_was_told_of_closes_however_far_the_watermark_leaps(
    prism: Path, tmp_path: Path, to_the_end: bool
) -> None:
    # The clock is far ahead of every report's timer; all was told before the window is over.
    stream = (
        TestStream()
        .advance_watermark_to(START)
        .add_elements([at("k", 100)])
        .advance_processing_time(1_000)
        .advance_watermark_to(START + DAY - 60)
        .advance_processing_time(1_000)
    )
    if not to_the_end:  # past the window's expiry, too
        stream = stream.advance_watermark_to(START + 4 * DAY).add_elements([at("x", 4 * DAY + 5)])
    reports = counted(prism, tmp_path, stream)
    assert [r for r in reports if r[0] == "k"] == [
        ["k", 1, 0, PaneInfoTiming.EARLY],
        ["k", 1, 0, PaneInfoTiming.ON_TIME],
    ]
    assert (["x", 1, 4, PaneInfoTiming.ON_TIME] in reports) == (not to_the_end)


@pytest.mark.prism
@pytest.mark.slow
def test_prism_has_forgotten_a_window_that_is_over(prism: Path, tmp_path: Path) -> None:
    """A limit of Prism's that docs/streaming.md tells of; where this fails, Prism has mended it."""
    stream = (
        TestStream()
        .advance_watermark_to(START)
        .add_elements([at("k", 100), at("k", 110)])
        .advance_processing_time(1_000)
        .advance_watermark_to(START + DAY + 60)
        .advance_processing_time(1_000)
        .add_elements([at("k", 200)])  # well within the allowed lateness
        .advance_watermark_to(START + DAY + 120)
        .advance_processing_time(1_000)
    )
    counts = [report[1] for report in counted(prism, tmp_path, stream)]
    assert counts[-2:] == [2, 1]  # and not 3; with 1 it replaces no row that has 2


@pytest.mark.prism
@pytest.mark.slow
def test_verdicts_come_while_their_window_is_open(prism: Path, tmp_path: Path) -> None:
    out = tmp_path / "reports"
    stream = TestStream().advance_watermark_to(START)
    # The p-value changes, and with it the verdict, long before the day is over.
    for version, p_value in ((1, 0.001), (2, 0.002), (3, 0.003)):
        test = Versioned("k", version, p_value)
        stream = stream.add_elements([TimestampedValue(test, START + 100 * version)])
        for step in range(8):  # of those that gather for a second; the watermark wakes the next
            stream = stream.advance_processing_time(1_000)
            stream = stream.advance_watermark_to(START + 100 * version + step)
    rest = stream.add_elements([TimestampedValue(Versioned("x", 1, 0.9), START + DAY - 1)])
    with (
        prism_running(prism) as endpoint,
        beam.Pipeline(options=prism_options(endpoint, [], endless=True)) as pipeline,
    ):
        _ = (
            pipeline
            | rest.advance_watermark_to_infinity().with_output_types(Versioned)
            | beam.WindowInto(beam.window.FixedWindows(DAY))
            | ControlDiscoveries(Rates(0.2), 0.05, DAY * 1_000, 1_000, LATENESS_MS, order=4)
            | beam.MapTuple(lambda name, v: (name, Versioned(name, v.version, v.q_value)))
            | CombineNowAndThen(NewestByName(), DAY * 1_000, 1_000, LATENESS_MS, 5)
            | beam.MapTuple(lambda name, kept: (name, kept[0].value))
            | beam.ParDo(Keep(str(out)))
        )
    reports = [json.loads(line) for line in out.read_text().splitlines()]
    early = [q for name, q, _, pane in reports if (name, pane) == ("k", PaneInfoTiming.EARLY)]
    # A verdict has the last time of its window, as what comes of RunInference has.
    assert early[:3] == [0.001, 0.002, 0.003]
