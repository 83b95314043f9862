"""Labels of requests without a text: the majority of their cell in the history."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.support.events import START_MS
from tests.support.sketches import SPACE, events_of, topic_coordinates
from transforms.embedding.embed import place
from transforms.embedding.labels import (
    SLOTS,
    UNREAD,
    CapabilityTable,
    count_labels,
    fill_labels,
    read_labels,
)
from transforms.embedding.space import NO_CELL
from transforms.ingest.batch import Decoded, Events
from transforms.ingest.capabilities import NONE, Capability

CODE, MATHS, TOOLS = Capability.CODE, Capability.MATHEMATICS, Capability.TOOL_USE


def counted(cells: list[int], labels: list[int], size: int = 4) -> CapabilityTable:
    return count_labels(np.array(cells, np.uint16), np.array(labels, np.int8), size)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(UNREAD, 13)), max_size=40), st.randoms())
def test_the_order_of_the_history_does_not_matter(
    history: list[tuple[int, int]], random: st.DataObject
) -> None:
    table = counted([c for c, _ in history], [x for _, x in history])
    shuffled = sorted(history, key=lambda _: random.random())  # type: ignore[attr-defined]
    again = counted([c for c, _ in shuffled], [x for _, x in shuffled])
    assert np.array_equal(table.counts, again.counts)
    assert table.counts.sum() == sum(label != UNREAD for _, label in history)


def test_more_than_half_of_a_cell_labels_it() -> None:
    cells = [0] * 6 + [1] * 6 + [2] * 4 + [3] * 7
    labels = [CODE] * 4 + [MATHS] * 2  # a majority
    labels += [CODE] * 3 + [NONE] * 3  # half is none
    labels += [CODE] * 4  # too few
    labels += [MATHS] * 5 + [UNREAD] * 2  # what was not read has no say
    assert counted(cells, labels).labels.tolist() == [CODE, NONE, NONE, MATHS]


def test_requests_with_tools_do_not_vote() -> None:
    assert counted([0] * 26, [TOOLS] * 20 + [CODE] * 6).labels[0] == CODE
    assert counted([0] * 20, [TOOLS] * 20).labels[0] == NONE


def test_a_history_without_texts_labels_nothing() -> None:
    table = counted([0, 1, 2], [UNREAD] * 3)
    assert table.counts.shape == (0, SLOTS)
    events = silent_events()
    assert np.array_equal(fill_labels(events, table.labels), events.capability)


def silent_events() -> Events:
    """Four events: one with nothing, one with a text that does not tell, one with tools, one with
    a vector of no cell."""
    rng = np.random.default_rng(1)
    events = events_of("a", START_MS + np.arange(4), topic_coordinates(np.zeros(4, int), rng))
    return replace(
        events,
        prompt_chars=np.array([0, 9, 0, 0], np.int32),
        tools=np.array([0, 0, 2, 0], np.int32),
        capability=np.array([NONE, NONE, TOOLS, NONE], np.int8),
        cells=np.array([0, 0, 0, NO_CELL], np.uint16),
    )


def test_only_what_has_neither_text_nor_label_takes_its_cells() -> None:
    labels = counted([0] * 6, [CODE] * 6).labels
    assert fill_labels(silent_events(), labels).tolist() == [CODE, NONE, TOOLS, NONE]
    assert read_labels(silent_events()).tolist() == [UNREAD, NONE, TOOLS, UNREAD]


def test_vectors_alone_are_labelled_when_they_are_placed() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((40, SPACE.dim)).astype(np.float32)
    cells, _ = SPACE.nearest(SPACE.coordinates(vectors))
    wanted = (cells % 2).astype(np.int8)  # code in even cells, mathematics in odd ones
    table = count_labels(np.repeat(cells, 5), np.repeat(wanted, 5), SPACE.cells)
    blank = events_of("a", START_MS + np.arange(40), np.zeros((40, 64), np.int8))
    decoded = Decoded(blank, [None] * 40, vectors, np.ones(40, bool), [])
    assert place(decoded, SPACE, None, table.labels).capability.tolist() == wanted.tolist()
    assert set(place(decoded, SPACE, None).capability.tolist()) == {NONE}
