"""Labels of decoded events."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transforms.ingest.batch import RecordBatch
from transforms.ingest.decode import Decoder
from transforms.ingest.known import Builder, Kind, KnownTexts, write_collection
from transforms.ingest.pseudonyms import Pseudonymiser

EXAM = [f"Which of the planets has exactly {n} moons, and who saw them first?" for n in "123"]
LEAK = [f"Write a story of {n} words in which a lighthouse keeper finds a map." for n in "123"]
OTHER = ["Could you help me to write a letter to my landlord about the heating?", "", None]
PLAIN = Decoder(Pseudonymiser(b"k" * 32), "model", 6)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    folder = tmp_path_factory.mktemp("known")
    collections: list[tuple[str, Kind, list[str]]] = [
        ("exam", "benchmark", EXAM), ("leak", "extraction", LEAK)
    ]  # fmt: skip
    for name, kind, texts in collections:
        builder = Builder()
        builder.add(texts)
        write_collection(folder / name, builder.finish(name, kind, 1e-4))
    known = KnownTexts.open([str(folder / name) for name, _, _ in collections])
    return replace(PLAIN, known=known)


def batch_of(texts: list[str | None]) -> RecordBatch:
    event = {"event_time": 1_780_000_000_000, "account_id": "a"}
    values = [
        orjson.dumps(event | {"event_id": f"e{i}", "prompt_text": text})
        for i, text in enumerate(texts)
    ]
    return RecordBatch("test", 0, np.arange(len(values)), values)


def test_events_are_labelled_with_the_place_of_their_collection(decoder: Decoder) -> None:
    texts: list[str | None] = [*LEAK, *OTHER, *EXAM, f"Question: {EXAM[0]} Answer: "]
    labels = decoder.decode(batch_of(texts)).events.known
    assert labels.dtype == np.int8
    assert labels.tolist() == [1] * 3 + [-1] * 3 + [0] * 4


def test_without_collections_no_event_is_labelled() -> None:
    assert PLAIN.decode(batch_of([*EXAM, *OTHER])).events.known.tolist() == [-1] * 6


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([*EXAM, *LEAK, *OTHER]), min_size=1, max_size=12), st.data())
def test_batches_do_not_matter(
    decoder: Decoder, texts: list[str | None], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(texts)))
    whole = decoder.decode(batch_of(texts)).events.known
    parts = [decoder.decode(batch_of(part)).events.known for part in (texts[:cut], texts[cut:])]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
