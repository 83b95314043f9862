"""Scaffold hashes: what is masked, and that a batch gives what single texts give."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from transforms.ingest.hashing import hash64, hash_column, hash_texts
from transforms.ingest.scaffold import looks_like_code, scaffold_columns, scaffolds

PIECES = st.lists(
    st.sampled_from([
        "word", "Another", "a", "B1", "42", "7", '"', "`", "\n", " ", "  ", ", ", ".", "#", "_",
        "-", "https://x.y/z", "http://", "://", "é", "ß", "İ", "漢字", "，", "٣", "\U0001d7d8",
        "don't", "\U00020000", "```", "\r\n", "x" * 60, ". ", ": ", "?\n", "。", "!\x1f", ":\u2003",
    ]),
    max_size=90,
).map("".join)  # fmt: skip
TEMPLATE = (
    "You are an expert in {} and must answer question {} from {} in full: {} Think step by step."
)


def in_a_batch(texts: Sequence[str]) -> list[tuple[int, ...]]:
    return list(zip(*(column.tolist() for column in scaffold_columns(texts)), strict=True))


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES | st.text(max_size=500), max_size=8))
@example(["word " * 300, '"a b" ' * 100, "`x\ny` " * 100, "", "1" * 500])
def test_a_batch_gives_what_single_texts_give(texts: list[str]) -> None:
    assert in_a_batch(texts) == [scaffolds(t) for t in texts]


@pytest.mark.parametrize("count", [1, 700])
def test_a_long_batch_is_cut_without_a_seam(count: int) -> None:
    texts = [
        f"Tell me all about the {i} best ways to do thing {'x' * (i % 900)}" for i in range(count)
    ]
    assert in_a_batch(texts) == [scaffolds(t) for t in texts]


def both(*texts: str) -> set[tuple[int, ...]]:
    """First and last words."""
    return {found[:2] for found in in_a_batch(texts)}


@pytest.mark.parametrize(
    "others",
    [
        ("7", "1234567"),
        ('"one"', '"quite another one, with 3 numbers"'),
        ("`x`", "`a longer piece of code()`"),
        ("https://a.b/c", "http://elsewhere.example/?q=1#part"),
        ('"see https://a.b"', '"no"'),
    ],
)
def test_texts_that_differ_in_a_masked_part_only_are_the_same(others: tuple[str, str]) -> None:
    one, other = (
        f"You are an expert and answer the question {x} at length and well" for x in others
    )
    (found,) = both(one, other)
    assert all(found)


def test_case_and_punctuation_do_not_count_and_wording_does() -> None:
    text = "You are an expert on birds, answer the following question at length."
    assert len(both(text, text.upper(), text.replace(",", " --"))) == 1
    assert len(both(text, text.replace("birds", "stones"))) == 2


def test_the_middle_does_not_count() -> None:
    start, end = "One two three four five six seven eight", "and now the end of it all my friend"
    assert len(both(*(f"{start} {middle} {end}" for middle in ("x", "y z " * 300, "42")))) == 1


def test_short_texts_have_none_and_scripts_without_blanks_have_their_ends() -> None:
    assert both("", "only a few words", "1 2 3 4 5 6 7") == {(0, 0)}
    text = "请用中文详细解释量子力学的基本原理并且给出三个例子说明每一个原理的应用场景"
    assert both(text) == {(hash64("h" + text[:16]), hash64("t" + text[-16:]))}


@pytest.mark.parametrize("end", [".", ":", "?", " !", "\n", ".\nThen some:"])
def test_an_opening_is_the_sentence_of_the_eighth_word(end: str) -> None:
    start = (
        "Give a full and correct solution to item below, format {}" + (end + " {} is asked. ") * 2
    )
    asked = ["the quick brown fox", "what a lazy dog did", 'an "odd" one with 3']
    one = {found[2] for found in in_a_batch([start.format("Brand", a, a) for a in asked])}
    other = {found[2] for found in in_a_batch([start.format("Other", a, a) for a in asked])}
    assert len(one) == len(other) == 1
    assert one != other
    assert 0 not in one | other


def test_a_closing_is_the_sentence_of_the_eighth_word_from_the_end() -> None:
    end = "{}: respond to the instruction. Write at least {} words."
    asked = ["Why is it so?\n\n", "x " * 700 + ". ", "漢字。"]
    one = {found[3] for found in in_a_batch([a + end.format("Brand", 7) for a in asked])}
    other = {found[3] for found in in_a_batch([a + end.format("Other", 19) for a in asked])}
    assert len(one) == len(other) == 1
    assert one != other
    assert 0 not in one | other


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of the country that has the most lakes?",  # nothing comes after
        "word " * 300,  # no end in sight
        "One two three four five six seven eight. And then what is asked",  # the eight words
        "3.5 of 1:2 or e.g.this and no.other is an end of any sentence here",
        'He said "this. And that: no end" of the eight words or of more here',
    ],
)
def test_what_is_no_sentence_of_its_own_has_no_opening(text: str) -> None:
    assert scaffolds(text)[2] == in_a_batch([text])[0][2] == 0


CODE = re.compile(r"```|\bdef |\breturn\b|#include|[;{}]\s*\n|</\w+>|\bSELECT\b.+\bFROM\b")


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from([
            "def ", "adef ", "return", "returned", " ", "</", "a>", "SELECT", "FROM", "\n", "{",
            ";", "```", "#include", "é", "x",
        ]),
        max_size=9,
    ).map("".join)
)  # fmt: skip
def test_looking_for_fixed_strings_first_changes_nothing(text: str) -> None:
    assert looks_like_code(text) == bool(CODE.search(text))


@given(st.lists(st.text(max_size=9) | st.none()))
def test_columns_have_the_hashes_of_their_values(values: list[str | None]) -> None:
    expected = [hash64(v) if v else 0 for v in values]
    np.testing.assert_array_equal(hash_column(values), np.array(expected, np.uint64))
    texts = [v or "" for v in values]
    expected = [hash64(v) for v in texts]
    np.testing.assert_array_equal(hash_texts(texts), np.array(expected, np.uint64))
