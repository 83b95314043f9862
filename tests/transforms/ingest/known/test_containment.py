"""Containment of texts in collections: what is found, what is not, and what must not matter."""

from __future__ import annotations

from fractions import Fraction
from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.ingest.known import CONTAINED, Builder, Collection, containment
from transforms.ingest.known.shingles import LEAST_BYTES, SHINGLE_BYTES, Stream

CITIES = ("Lisbon", "Quito", "Nairobi", "Hanoi", "Oslo", "Perth")
QUESTIONS = [
    f"How many people lived in {city} in {year}, and what did most of them work at?"
    for city in CITIES
    for year in (1850, 1900, 1950)
]
CHINESE = [f"请详细说明{n}号实验的目的、步骤和结果，并指出可能的误差来源。" for n in "甲乙丙丁"]
UNRELATED = [
    f"My {thing} broke again on the way home; would you write to the shop and ask for {n} euros?"
    for thing in ("bicycle", "umbrella", "kettle", "radio")
    for n in (10, 20)
]
WRAPPER = (
    "You are a careful expert in every field. Think about it step by step and show how you came "
    "to your conclusion before you give it.\n### Task\n{}\n### End\nAnswer in JSON with the keys "
    "'steps' and 'answer', add nothing else, and name three sources that support what you say."
)


def collection(texts: list[str], false_positives: float = 1e-4) -> Collection:
    builder = Builder()
    builder.add(texts)
    return builder.finish("made-up", "other", false_positives)


KNOWN = collection(QUESTIONS + CHINESE)


def of(*texts: str) -> list[float]:
    return containment(texts, KNOWN.bloom).tolist()


def test_what_was_put_in_is_found_whole() -> None:
    assert of(*QUESTIONS, *CHINESE) == [1.0] * (len(QUESTIONS) + len(CHINESE))


def test_what_has_nothing_in_common_is_not() -> None:
    assert max(of(*UNRELATED)) < 0.1


@pytest.mark.parametrize("text", [QUESTIONS[0], CHINESE[0]])
def test_form_does_not_matter(text: str) -> None:
    forms = [
        text.upper(),
        normalize("NFD", text),
        text.replace(" ", "\n\t "),
        f"  «{text}»!! ",
        text.replace(",", " –"),
        "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),  # full width
    ]
    assert of(*forms) == [1.0] * len(forms)


def test_digits_matter() -> None:
    assert of("How many people lived in Oslo in 1787")[0] < CONTAINED < of("".join(QUESTIONS))[0]


@pytest.mark.parametrize("text", [*QUESTIONS[:3], *CHINESE[:2]])
def test_a_wrapper_does_not_hide_a_known_text(text: str) -> None:
    wrapped = WRAPPER.format(text)
    assert len(wrapped) > 3 * len(text)
    assert of(wrapped)[0] >= CONTAINED
    assert of(WRAPPER.format(UNRELATED[0]))[0] < CONTAINED


def test_a_wrapper_around_a_known_text_with_a_changed_word_does_not_hide_it() -> None:
    text = (
        "A farmer has twelve boxes with eight apples each, sells half of all apples on Monday and "
        "a quarter of what is left on Tuesday, gives five to a neighbour, and wants to know how "
        "many apples are still there on Wednesday and how many boxes she needs for them then."
    )
    known = collection([text])
    changed = WRAPPER.format(text.replace("neighbour", "relative"))
    assert CONTAINED <= containment([changed], known.bloom)[0] < 1


def test_two_known_texts_far_apart_in_one_prompt_are_found() -> None:
    filler = " ".join(UNRELATED)
    assert of(f"{filler} {QUESTIONS[3]} {filler} {QUESTIONS[9]} {filler}")[0] >= CONTAINED


def test_the_middle_of_a_known_text_in_a_longer_one_is_not_enough() -> None:
    middle = "people lived in Quito in 1900, and what did most of them"
    assert of(middle)[0] == 1.0  # alone it is no more than that
    assert of(WRAPPER.format(middle))[0] < CONTAINED


def test_a_paraphrase_evades_it() -> None:
    assert of("What was the population of Quito around 1900 and its usual trades?")[0] < CONTAINED


def test_short_texts() -> None:
    known = collection(["Who wrote Faust?", "Continue", "谢谢你"])
    asked = ["who wrote faust", "Who wrote Hamlet?", "Continue", "谢谢你", "", "?!"]
    assert containment(asked, known.bloom).tolist() == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert known.about.texts == 1


def test_a_short_instruction_does_not_make_a_long_prompt_known() -> None:
    """Many prompts begin like this, whatever comes after."""
    known = collection(["Rewrite the following text."])
    assert containment(["Rewrite the following text"], known.bloom)[0] == 1
    assert containment([f"Rewrite the following text: {UNRELATED[0]}"], known.bloom)[0] < CONTAINED


def test_no_text_at_all() -> None:
    assert containment([], KNOWN.bloom).shape == (0,)
    assert collection([]).about.entries == 0
    assert containment(QUESTIONS, collection([]).bloom).max() == 0


TEXTS = st.lists(
    st.text(max_size=60)
    | st.sampled_from(QUESTIONS + CHINESE + UNRELATED)
    | st.sampled_from(QUESTIONS + UNRELATED).map(WRAPPER.format)
    | st.text("ab ,ẞ１ไทยक्षि漢\U00020000\u0301", max_size=80),
    max_size=12,
)


@given(TEXTS, st.randoms(use_true_random=False))
def test_a_text_is_found_alike_alone_and_among_others(texts: list[str], random: object) -> None:
    together = containment(texts, KNOWN.bloom)
    alone = [containment([text], KNOWN.bloom)[0] for text in texts]
    np.testing.assert_array_equal(together, alone)


@given(TEXTS, st.data())
def test_order_repeats_and_batches_do_not_change_a_collection(
    texts: list[str], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(texts + texts[:3]))
    cut = data.draw(st.integers(0, len(shuffled)))
    builder = Builder()
    builder.add(shuffled[:cut])
    builder.add(shuffled[cut:])
    again = builder.finish("made-up", "other", 1e-4)
    once = collection(texts)
    assert again.about == once.about
    np.testing.assert_array_equal(again.bloom.bits, once.bloom.bits)


@given(TEXTS)
def test_every_text_that_was_put_in_is_contained_whole(texts: list[str]) -> None:
    found = containment(texts, collection(texts).bloom)
    says = Stream(texts).size >= LEAST_BYTES
    np.testing.assert_array_equal(found, np.where(says, 1.0, 0.0))


WORDS = ("how", "many", "people", "lived", "in", "Oslo", "1900", "and", "what")


def by_hand(text: str, known: str) -> Fraction:
    """Containment of one ASCII text of many words in another, with sets of strings."""

    def shingles(of: str) -> set[tuple[int, str]]:
        words = "".join(c.lower() if c.isalnum() else " " for c in of).split()
        stream = "".join(words)
        begins = np.cumsum([0, *map(len, words)])[:-1].tolist()
        last = len(stream) - SHINGLE_BYTES
        places = sorted({b for b in begins if b <= last} | {last})
        return {(p, stream[p : p + SHINGLE_BYTES]) for p in places}

    there = {shingle for _, shingle in shingles(known)}
    mine = shingles(text)
    return Fraction(sum(shingle in there for _, shingle in mine), len(mine))


@given(
    st.lists(st.sampled_from(WORDS), min_size=9),
    st.lists(st.sampled_from(WORDS), min_size=9),
)
def test_shares_are_those_of_sets_of_strings(text: list[str], known: list[str]) -> None:
    expected = by_hand(" ".join(text), ", ".join(known))
    found = containment([" ".join(text)], collection([", ".join(known)], 1e-9).bloom)[0]
    # A window may hold enough where the whole does not; below that, shares are of the whole.
    assert found == pytest.approx(float(expected)) or found >= CONTAINED > expected
