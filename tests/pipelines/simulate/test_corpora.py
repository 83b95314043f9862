"""Corpora and traces of a user's own: what is read, what is refused, and in which words."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import orjson
import pytest

from pipelines.simulate.corpora import SPLITS, choose_corpora, load_corpus, open_corpora, part_of
from pipelines.simulate.traces import open_traces
from schemas.errors import DistilwatchError


def _lines(*rows: object) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def _turn(text: str, turn: object, conversation: str = "a") -> dict[str, object]:
    return {"text": text, "conv": conversation, "turn": turn}


def _two(folder: Path) -> None:
    for name in ("atk_one", "ben_two"):
        rows = [{"text": f"{name} asks for number {i} of the list"} for i in range(400)]
        (folder / f"{name}.jsonl").write_bytes(_lines(*rows))


def test_a_conversation_goes_on_in_the_order_of_its_turns(tmp_path: Path) -> None:
    path = tmp_path / "ben_talk.jsonl.gz"
    rows = [_turn("third", 2), _turn("first", None), _turn("alone", 0, "b"), _turn("second", "1")]
    path.write_bytes(gzip.compress(_lines(*rows)))
    corpus = load_corpus(path, "ben_talk")
    follows = {
        corpus.texts[row]: corpus.texts[to] if to >= 0 else None
        for row, to in enumerate(corpus.following.tolist())
    }
    assert follows == {"first": "second", "second": "third", "third": None, "alone": None}


@pytest.mark.parametrize(
    "line",
    [
        b'{"text": "what is a',
        b'{"prompt": "no text"}',
        b'["a list"]',
        b'{"text": 7}',
        b'{"text": "what", "conv": "a", "turn": "last"}',
        b'{"text": "what", "conv": "a", "turn": 1e999}',
    ],
)
def test_a_wrong_line_is_told_with_its_place(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "ben_wrong.jsonl"
    path.write_bytes(_lines({"text": "fine"}) + line + b"\n")
    with pytest.raises(DistilwatchError, match="not an object with a 'text'") as told:
        load_corpus(path, "ben_wrong")
    assert f"{path}, line 2" in str(told.value)


def test_a_file_that_was_cut_off_is_told(tmp_path: Path) -> None:
    whole = gzip.compress(_lines(*({"text": f"question {i}"} for i in range(2_000))))
    for broken in (whole[: len(whole) // 2], b"no gzip at all\n"):
        path = tmp_path / f"ben_{len(broken)}.jsonl.gz"
        path.write_bytes(broken)
        with pytest.raises(DistilwatchError, match=r"the file is (cut off|not gzip)") as told:
            load_corpus(path, "ben_cut")
        assert str(path) in str(told.value)


def test_each_corpus_has_one_part_for_good() -> None:
    names = ["ben_mmlu", "atk_evolcode", "atk_lamini_dataset", *(f"ben_own_{i}" for i in range(30))]
    parts = [choose_corpora(names, part, (), ()) for part in SPLITS]
    assert all(parts)
    assert sorted(name for part in parts for name in part) == sorted(names)
    assert [part_of(name) for name in names[:3]] == ["report", "choose", "fit"]


def test_disjoint_shards_share_no_prompt(tmp_path: Path) -> None:
    _two(tmp_path)
    source = open_corpora(tmp_path, "all", (), (), source_swap=False)
    rng = np.random.default_rng(1)
    for disjoint in (True, False):
        shards = source.shards(7, source.attack_topics, rng, disjoint)
        asked = [set(shard.draw(200, rng).tolist()) for shard in shards]
        assert sum(map(len, asked)) == len(set().union(*asked)) == 400
        assert all(shard.corpora() == {"atk_one"} for shard in shards)


def test_swapped_attackers_draw_from_what_people_draw_from(tmp_path: Path) -> None:
    _two(tmp_path)
    source = open_corpora(tmp_path, "all", (), (), source_swap=True)
    assert source.corpora_of(source.attack_topics) == {"ben_two"}


@pytest.mark.parametrize(
    ("only", "swap", "what"),
    [
        ("atk_*", True, "no corpus for benign accounts"),
        ("ben_*", False, "no corpus for attackers"),
        ("x*", True, "no corpus is left"),
    ],
)
def test_a_choice_that_leaves_nobody_is_told(
    tmp_path: Path, only: str, swap: bool, what: str
) -> None:
    _two(tmp_path)
    with pytest.raises(DistilwatchError, match=what):
        open_corpora(tmp_path, "all", (only,), (), swap)


def test_a_trace_that_is_not_as_published_is_told(tmp_path: Path) -> None:
    path = tmp_path / "azure2023_conv.csv.gz"
    wrong = {
        b"ContextTokens,Other\n1,2\n": "GeneratedTokens",
        b"ContextTokens,GeneratedTokens\n1,many\n": "no numbers",
        b"ContextTokens,GeneratedTokens\n1,2,3\n": "cannot be read",
    }
    for at, (text, what) in enumerate(wrong.items()):
        folder = tmp_path / str(at)
        folder.mkdir()
        (folder / path.name).write_bytes(gzip.compress(text))
        with pytest.raises(DistilwatchError, match=what) as told:
            open_traces(folder)
        assert path.name in str(told.value)
    with pytest.raises(DistilwatchError, match="no trace found"):
        open_traces(tmp_path)


def test_answers_are_as_long_as_real_ones_to_prompts_of_that_length(tmp_path: Path) -> None:
    rows = "".join(f"{n},{10 * n}\n" for n in range(1_000, 0, -1))
    text = f"ContextTokens,GeneratedTokens\n{rows}".encode()
    (tmp_path / "azure2023_code.csv.gz").write_bytes(gzip.compress(text))
    traces = open_traces(tmp_path)
    assert traces.clients == ()
    inputs = np.array([1, 500, 1_000, 10**6])
    outputs = traces.outputs_for(inputs, np.random.default_rng(1))
    assert np.all(np.abs(outputs - 10 * np.minimum(inputs, 1_000)) <= 210)
