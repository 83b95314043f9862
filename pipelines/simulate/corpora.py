"""Prompts from a folder of corpora, divided so that choosing and reporting never share a corpus.

A corpus is one `*.jsonl` or `*.jsonl.gz` file; each line is an object with `text` and, if the
source has them, `category`, `conv` and `turn`. Files named `atk_…` and `seed_…` feed attackers,
`ben_…` (and any other name) benign accounts; `…meta_prompts…` holds generators' meta-prompts.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.simulate.corpus_file import read_rows
from pipelines.simulate.prompts import Ids, ListPool, Pool, PromptSource, Role
from schemas.errors import DistilwatchError

SPLITS = ("fit", "choose", "report")
MAX_ROWS = 100_000
"""Rows read of one corpus; prompts are held in memory."""

# Related corpora (same origin, or one made from the other) are kept in the same part.
_ASSIGNED: dict[str, tuple[str, ...]] = {
    "fit": (
        "atk_lamini_dataset",
        "atk_huatuo_med_zh",
        "atk_huatuo_liver_zh",
        "ben_query_wellformed",
        "ben_gsm8k",
        "ben_banking77",
    ),
    "choose": (
        "atk_evolcode",
        "atk_codealpaca",
        "ben_instructionwild",
        "ben_nl2bash",
        "ben_ceval",
        "ben_taskmaster4",
    ),
    "report": (
        "atk_alpaca_5k",
        "atk_alpaca_gpt4_demo",
        "atk_belle_zh",
        "seed_self_instruct",
        "atk_meta_prompts",
        "ben_arena_hard_v01",
        "ben_alpacaeval_805",
        "ben_user_oriented_252",
        "ben_mtbench_vicuna",
        "ben_mmlu",
        "ben_restaurant8k",
        "ben_mts_dialog",
    ),
}
_PART = {name: part for part, names in _ASSIGNED.items() for name in names}
_BENCHMARKS = ("mmlu", "ceval", "gsm8k", "alpacaeval", "mtbench", "arena_hard", "bench", "eval")
_SERVICES = ("banking", "restaurant", "taskmaster", "mts_dialog", "support", "service")


def part_of(corpus: str) -> str:
    """The part (fit, choose or report) that a corpus belongs to, for good.

    Corpora that this project knows are assigned by a list, so that each part has attacks, people,
    evaluators and businesses and related corpora stay together; others by the SHA-256 of their
    name.
    """
    known = _PART.get(corpus)
    return known or SPLITS[hashlib.sha256(corpus.encode()).digest()[0] % len(SPLITS)]


@dataclass(frozen=True, slots=True)
class Corpus:
    """One corpus, read and cut into topics.

    Attributes:
      name: file name without its endings.
      texts: the prompts.
      topic: int64 of shape (texts,), topic number within the corpus.
      topics: names of the topics.
      following: int64 of shape (texts,), row of the next turn of the conversation, -1 if none.
    """

    name: str
    texts: tuple[str, ...]
    topic: Ids
    topics: tuple[str, ...]
    following: Ids

    @property
    def attack(self) -> bool:
        return self.name.startswith(("atk_", "seed_"))

    @property
    def role(self) -> Role:
        if any(word in self.name for word in _SERVICES):
            return "service"
        return "benchmark" if any(word in self.name for word in _BENCHMARKS) else "general"


def corpus_files(folder: Path) -> dict[str, Path]:
    """Corpora in a folder by name, sorted.

    Raises:
      DistilwatchError: the folder is missing or has no corpus.
    """
    if not folder.is_dir():
        raise DistilwatchError(
            "the folder of corpora does not exist", str(folder), "give --corpus an existing folder"
        )
    found = {
        path.name.removesuffix(".gz").removesuffix(".jsonl"): path
        for path in sorted([*folder.glob("*.jsonl"), *folder.glob("*.jsonl.gz")])
    }
    if not found:
        raise DistilwatchError(
            "no corpus found",
            str(folder),
            "put *.jsonl or *.jsonl.gz files there, one object with 'text' a line",
        )
    return found


def choose_corpora(
    names: Sequence[str], part: str, only: Sequence[str], exclude: Sequence[str]
) -> list[str]:
    """Names that are left after the part and the patterns (shell style, `*` and `?`)."""
    if part not in (*SPLITS, "all"):
        raise DistilwatchError(
            f"unknown part of the corpora {part!r}",
            "--part",
            "use fit, choose, report or all",
        )

    def matches(name: str, patterns: Sequence[str]) -> bool:
        return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)

    return [
        name
        for name in names
        if (part == "all" or part_of(name) == part)
        and (not only or matches(name, only))
        and not matches(name, exclude)
    ]


def load_corpus(path: Path, name: str) -> Corpus:
    """Reads one corpus and finds its topics; cached in memory while the file does not change.

    Raises:
      DistilwatchError: the file cannot be read, or a line is not JSON or has no text.
    """
    stat = path.stat()
    return _load(str(path), name, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _load(path: str, name: str, _mtime: int, _size: int) -> Corpus:
    texts: list[str] = []
    categories: list[str] = []
    turns: dict[str, list[tuple[int, int]]] = {}
    for row in islice(read_rows(Path(path)), MAX_ROWS):
        if row.conversation:
            turns.setdefault(row.conversation, []).append((row.turn, len(texts)))
        categories.append(row.category)
        texts.append(row.text)
    if not texts:
        raise DistilwatchError("the corpus is empty", path, "remove it or use --exclude")
    following = np.full(len(texts), -1, np.int64)
    for turns_of in turns.values():
        rows = [row for _, row in sorted(turns_of)]
        following[rows[:-1]] = rows[1:]
    if _informative(categories):
        names, topic = np.unique(np.array(categories), return_inverse=True)
        return Corpus(name, tuple(texts), topic.astype(np.int64), tuple(names), following)
    topic = cluster(texts)
    count = int(topic.max()) + 1
    return Corpus(name, tuple(texts), topic, tuple(f"cluster {i}" for i in range(count)), following)


def _informative(categories: Sequence[str]) -> bool:
    """Whether categories can be taken for topics: many, neither scores nor one for almost all."""
    counts = Counter(categories)
    numeric = sum(count for value, count in counts.items() if _is_number(value))
    return (
        len(counts) >= 8
        and len(categories) / len(counts) >= 10
        and max(counts.values()) <= 0.4 * len(categories)
        and numeric <= 0.1 * len(categories)
    )


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return not value
    return True


def cluster(texts: Sequence[str], seed: int = 0) -> Ids:
    """Topics of texts by hashed TF-IDF and mini-batch k-means, int64 of shape (texts,).

    About 80 texts make a topic. Words count, and pairs of characters where a script has no blanks.
    """
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    wanted = int(np.clip(len(texts) // 80, 1, 64))
    if wanted < 2:
        return np.zeros(len(texts), np.int64)
    vectorizer = HashingVectorizer(n_features=4096, analyzer=_tokens, alternate_sign=False)
    counted = vectorizer.transform([text[:600] for text in texts])
    features = TfidfTransformer(sublinear_tf=True).fit_transform(counted)
    means = MiniBatchKMeans(wanted, random_state=seed, batch_size=2048, n_init=1, max_iter=30)
    labels: NDArray[np.int32] = means.fit_predict(features)
    _, dense = np.unique(labels, return_inverse=True)
    return dense.astype(np.int64)


def _tokens(text: str) -> list[str]:
    found = []
    for word in text.lower().split():
        word = word.strip(".,;:!?()[]\"'`。，？！、：")
        if word and word[0] < "\u2e80":
            if len(word) > 3:
                found.append(word[:7])
        else:
            found.extend(word[i : i + 2] for i in range(len(word) - 1))
    return found or ["(none)"]


class CorpusSource(PromptSource):
    """The prompts of a folder of corpora, as a `PromptSource`.

    Args:
      corpora: corpora to draw from; topics keep their order.
      source_swap: whether attackers draw from the benign corpora, so that the style of a corpus
        cannot give them away.

    Raises:
      DistilwatchError: no benign corpus is left, or no attack corpus and no source swap.
    """

    def __init__(self, corpora: Sequence[Corpus], source_swap: bool) -> None:
        meta = [corpus for corpus in corpora if "meta_prompts" in corpus.name]
        corpora = [corpus for corpus in corpora if "meta_prompts" not in corpus.name]
        benign = np.array([not corpus.attack for corpus in corpora], bool)
        if not benign.any():
            raise DistilwatchError(
                "no corpus for benign accounts is left",
                ", ".join(corpus.name for corpus in corpora),
                "name one ben_….jsonl, or loosen --only, --exclude and --part",
            )
        if benign.all() and not source_swap:
            raise DistilwatchError(
                "no corpus for attackers is left",
                ", ".join(corpus.name for corpus in corpora),
                "name one atk_….jsonl, loosen the choice, or use --source-swap",
            )
        self._texts = [text for corpus in corpora for text in corpus.texts]
        starts = np.cumsum([0, *(len(corpus.texts) for corpus in corpora)])
        topic_starts = np.cumsum([0, *(len(corpus.topics) for corpus in corpora)])
        self.meta_prompts = tuple(text for corpus in meta for text in corpus.texts)
        self.areas = tuple(corpus.name for corpus in corpora)
        self.roles = tuple(corpus.role for corpus in corpora)
        self.topics = tuple(f"{c.name}: {topic}" for c in corpora for topic in c.topics)
        self.area_of = np.repeat(np.arange(len(corpora)), np.diff(topic_starts))
        self._topic = np.concatenate(
            [c.topic + first for c, first in zip(corpora, topic_starts[:-1], strict=True)]
        )
        self._next = np.concatenate(
            [
                np.where(c.following >= 0, c.following + first, -1)
                for c, first in zip(corpora, starts[:-1], strict=True)
            ]
        )
        self._order = np.argsort(self._topic, kind="stable")
        self._sizes = np.bincount(self._topic, minlength=len(self.topics))
        self._starts = np.concatenate([[0], np.cumsum(self._sizes)[:-1]])
        self.benign_topics = np.flatnonzero(benign[self.area_of])
        attack = benign if source_swap else ~benign
        self.attack_topics = np.flatnonzero(attack[self.area_of])

    def units(self, topic: int) -> int:
        return 1

    def draw(self, topics: Ids, units: Ids, rng: np.random.Generator) -> Ids:
        within = (rng.random(len(topics)) * self._sizes[topics]).astype(np.int64)
        drawn: Ids = self._order[self._starts[topics] + within]
        return drawn

    def documents(self, topics: Ids, units: Ids, rng: np.random.Generator) -> Ids:
        return self.draw(topics, units, rng)

    def follow(self, first: Ids, turns: Ids, rng: np.random.Generator) -> Ids:
        current = first.copy()
        for turn in range(1, int(turns.max(initial=0)) + 1):
            going = turns >= turn
            current[going] = np.where(current[going] >= 0, self._next[current[going]], -1)
        same_topic = self.draw(self._topic[first], np.full(len(first), -1), rng)
        return np.where(current >= 0, current, same_topic)

    def sweep(self, number: int) -> Ids:
        benign = np.unique(self.area_of[self.benign_topics])
        known = [area for area in benign if self.roles[area] == "benchmark"]
        area = (known or list(benign))[number % len(known or benign)]
        return np.flatnonzero(self.area_of[self._topic] == area)

    def published(self, number: int) -> Ids:
        areas = np.unique(self.area_of[self.attack_topics])
        rows = np.flatnonzero(self.area_of[self._topic] == areas[number % len(areas)])
        return np.random.default_rng((0x9B11, number)).permutation(rows)

    def shards(
        self, count: int, topics: Ids, rng: np.random.Generator, disjoint: bool
    ) -> list[Pool]:
        order = rng.permutation(topics) if disjoint else topics
        rows = np.concatenate(
            [self._order[self._starts[t] : self._starts[t] + self._sizes[t]] for t in order]
        )
        if len(rows) < count:
            raise DistilwatchError(
                f"{count} accounts cannot share {len(rows)} prompts",
                "--attack",
                "use fewer accounts or more corpora",
            )
        if not disjoint:
            rows = rng.permutation(rows)
        return [ListPool(self, rng.permutation(part)) for part in np.array_split(rows, count)]

    def topic_of(self, ids: Ids) -> Ids:
        topics: Ids = self._topic[ids]
        return topics

    def corpora_of(self, topics: Ids) -> frozenset[str]:
        return frozenset(self.areas[area] for area in np.unique(self.area_of[topics]))

    def render(self, ids: Ids, styles: NDArray[np.int8]) -> list[str]:
        return [self._texts[row] for row in ids.tolist()]


def open_corpora(
    folder: Path, part: str, only: Sequence[str], exclude: Sequence[str], source_swap: bool
) -> CorpusSource:
    """Reads the chosen corpora of a folder.

    Raises:
      DistilwatchError: the folder, the choice or a line is wrong.
    """
    files = corpus_files(folder)
    names = choose_corpora(list(files), part, only, exclude)
    if not names:
        raise DistilwatchError(
            "no corpus is left", str(folder), "loosen --only, --exclude or --part"
        )
    return CorpusSource([load_corpus(files[name], name) for name in names], source_swap)
