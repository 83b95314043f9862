"""Invented prompts: 86 topics, each with its own vocabulary, written by templates.

Everything about a prompt is in the bits of its id, so a prompt is drawn in numpy and written out
only when its event is:

    bits  0-7 topic   8-13 object   14-19 template   20-25 aspect   26-31 context
         32-37 second object   38-43 second aspect   44-46 form   47-58 number

The text is this project's own and needs no download. It is no measure of quality on real prompts:
use corpora for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipelines.simulate.prompts import Ids, Pool, PromptSource, Role
from pipelines.simulate.styles import restyle

ASK, DOCUMENT, FOLLOW, EXAM = range(4)
CORPUS = "built-in"
_FIELDS = {
    "topic": (0, 8),
    "object": (8, 6),
    "template": (14, 6),
    "aspect": (20, 6),
    "context": (26, 6),
    "object2": (32, 6),
    "aspect2": (38, 6),
    "form": (44, 3),
    "number": (47, 12),
}
_SWEEP = 600
_PUBLISHED = 5_000


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic: its place and its words."""

    name: str
    domain: str
    family: str
    language: str
    objects: tuple[str, ...]
    aspects: tuple[str, ...]
    contexts: tuple[str, ...]


@cache
def blocks(name: str) -> dict[str, tuple[str, ...]]:
    """Reads one file of `words/` that is divided by `[section]` lines."""
    found: dict[str, list[str]] = {}
    section: list[str] = []
    for line in _lines(name):
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), [])
        else:
            section.append(line)
    return {key: tuple(lines) for key, lines in found.items()}


def _lines(name: str) -> list[str]:
    text = (resources.files("pipelines.simulate") / "words" / name).read_text("utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@cache
def load_topics() -> tuple[Topic, ...]:
    """All topics, in a fixed order."""
    topics = []
    for name in ("tech.txt", "life.txt", "world.txt"):
        lines = _lines(name)
        for head, *words in zip(lines[0::4], lines[1::4], lines[2::4], lines[3::4], strict=True):
            title, domain, family, language = (part.strip() for part in head.split("|"))
            objects, aspects, contexts = (
                tuple(word.strip() for word in line.split(";")) for line in words
            )
            topics.append(Topic(title, domain, family, language, objects, aspects, contexts))
    return tuple(topics)


def pack(**parts: NDArray[np.int64] | int) -> Ids:
    """Puts the parts of prompts together into ids; parts broadcast against each other."""
    total: Ids = np.zeros((), np.int64)
    for name, value in parts.items():
        shift, width = _FIELDS[name]
        total = total + ((np.asarray(value, np.int64) & ((1 << width) - 1)) << shift)
    return total


def unpack(ids: Ids, name: str) -> Ids:
    """One part of each id."""
    shift, width = _FIELDS[name]
    part: Ids = (ids >> shift) & ((1 << width) - 1)
    return part


class GrammarSource(PromptSource):
    """The built-in prompts, as a `PromptSource`. Attackers and benign share all of it."""

    def __init__(self) -> None:
        self._topics = load_topics()
        self._templates = blocks("templates.txt")
        extra = blocks("extra.txt")
        self._follow = {k[7:]: v for k, v in extra.items() if k.startswith("follow.")}
        self._documents = {k[4:]: v for k, v in extra.items() if k.startswith("doc.")}
        self.topics = tuple(topic.name for topic in self._topics)
        domains = [
            "support" if topic.family == "support" else topic.domain for topic in self._topics
        ]
        self.areas = tuple(sorted(set(domains)))
        self.roles = tuple(_role(area) for area in self.areas)
        self.area_of = np.array([self.areas.index(domain) for domain in domains], np.int64)
        self.benign_topics = np.arange(len(self.topics))
        self.attack_topics = np.arange(len(self.topics))
        self.meta_prompts = tuple(text.format(n=20) for text in extra["meta"])
        self._sizes = {
            "object": np.array([len(t.objects) for t in self._topics]),
            "aspect": np.array([len(t.aspects) for t in self._topics]),
            "context": np.array([len(t.contexts) for t in self._topics]),
            "template": np.array([len(self._templates[t.family]) for t in self._topics]),
        }

    def units(self, topic: int) -> int:
        return len(self._topics[topic].objects)

    def draw(self, topics: Ids, units: Ids, rng: np.random.Generator) -> Ids:
        return self._make(topics, units, ASK, rng)

    def documents(self, topics: Ids, units: Ids, rng: np.random.Generator) -> Ids:
        return self._make(topics, units, DOCUMENT, rng)

    def _make(self, topics: Ids, units: Ids, form: int, rng: np.random.Generator) -> Ids:
        uniform = rng.random((7, len(topics)))
        objects = self._sizes["object"][topics]
        aspects = self._sizes["aspect"][topics]
        first = np.where(units >= 0, units, (uniform[0] * objects).astype(np.int64)) % objects
        aspect = (uniform[2] * aspects).astype(np.int64)
        return pack(
            topic=topics,
            object=first,
            template=(uniform[1] * self._sizes["template"][topics]).astype(np.int64),
            aspect=aspect,
            context=(uniform[3] * self._sizes["context"][topics]).astype(np.int64),
            # A step from 1 to size - 1 keeps the second word different from the first.
            object2=(first + 1 + (uniform[4] * (objects - 1)).astype(np.int64)) % objects,
            aspect2=(aspect + 1 + (uniform[5] * (aspects - 1)).astype(np.int64)) % aspects,
            form=form,
            number=(uniform[6] * 4096).astype(np.int64),
        )

    def follow(self, first: Ids, turns: Ids, rng: np.random.Generator) -> Ids:
        topics = unpack(first, "topic")
        new = self._make(topics, unpack(first, "object"), FOLLOW, rng)
        # Half the time a person asks a whole new question on the same subject.
        form = np.where(rng.random(len(first)) < 0.5, ASK, FOLLOW).astype(np.int64)
        return new & ~pack(form=7) | pack(form=form)

    def sweep(self, number: int) -> Ids:
        rng = np.random.default_rng((0x5EEB, number))
        area = int(rng.integers(-2, len(self.areas)))  # a benchmark of one field, or of all
        topics = np.flatnonzero(self.area_of == area) if area >= 0 else self.benign_topics
        size = int(rng.integers(_SWEEP // 3, _SWEEP * 2))
        chosen = np.sort(rng.choice(topics, size))
        return self._make(chosen, np.full(size, -1), EXAM if number % 2 else ASK, rng)

    def published(self, number: int) -> Ids:
        rng = np.random.default_rng((0x9B11, number))
        topics = rng.choice(self.attack_topics, _PUBLISHED)
        return self._make(topics, np.full(_PUBLISHED, -1), ASK, rng)

    def shards(
        self, count: int, topics: Ids, rng: np.random.Generator, disjoint: bool
    ) -> list[Pool]:
        order = rng.permutation(topics)
        sizes = self._sizes["object"][order] * self._sizes["template"][order]
        total = int(sizes.sum())
        if disjoint:
            cuts = np.linspace(0, total, count + 1).astype(np.int64)
            return [
                CellPool(self, order, np.arange(low, max(high, low + 1)))
                for low, high in pairwise(cuts.tolist())
            ]
        cells = rng.permutation(total)
        return [CellPool(self, order, part) for part in np.array_split(cells, count)]

    def topic_of(self, ids: Ids) -> Ids:
        return unpack(ids, "topic")

    def corpora_of(self, topics: Ids) -> frozenset[str]:
        return frozenset({CORPUS})

    def render(self, ids: Ids, styles: NDArray[np.int8]) -> list[str]:
        parts = [unpack(ids, name).tolist() for name in _FIELDS]
        return [
            self._write(styles_, id_, *row)
            for styles_, id_, row in zip(
                styles.tolist(), ids.tolist(), zip(*parts, strict=True), strict=True
            )
        ]

    def _write(
        self,
        style: int,
        id_: int,
        topic_: int,
        object_: int,
        template_: int,
        aspect_: int,
        context_: int,
        object2: int,
        aspect2: int,
        form: int,
        number: int,
    ) -> str:
        topic = self._topics[topic_]
        objects, aspects, contexts = topic.objects, topic.aspects, topic.contexts
        words = {
            "o": objects[object_ % len(objects)],
            "p": objects[object2 % len(objects)],
            "a": aspects[aspect_ % len(aspects)],
            "b": aspects[aspect2 % len(aspects)],
            "c": contexts[context_ % len(contexts)],
            "n": 2 + number % 60,
            "m": 3 + number // 60,
        }
        salt = (id_ * 0x9E3779B97F4A7C15 >> 20) & 0xFFFFFFFF
        if form == DOCUMENT:
            return self._document(topic, words, salt)
        follows = form == FOLLOW
        choices = self._follow[topic.language] if follows else self._templates[topic.family]
        text = choices[template_ % len(choices)].format_map(words)
        text = text[0].upper() + text[1:]
        if form == EXAM:
            start = salt % len(aspects)
            options = [aspects[(start + 3 * i) % len(aspects)] for i in range(4)]
            return text + "".join(
                f"\n{letter}. {option}" for letter, option in zip("ABCD", options, strict=True)
            )
        return restyle(text, style, topic.language, salt)

    def _document(self, topic: Topic, words: dict[str, object], salt: int) -> str:
        choices = self._documents[topic.language]
        sentences = []
        for step in range(2 + salt % 5):
            sentence = choices[(salt + step * 3) % len(choices)].format_map(words)
            sentences.append(sentence[0].upper() + sentence[1:])
            words["a"] = topic.aspects[(salt + 2 * step) % len(topic.aspects)]
            words["p"] = topic.objects[(salt + 5 * step) % len(topic.objects)]
            words["c"] = topic.contexts[(salt + step) % len(topic.contexts)]
        return " ".join(sentences)


class CellPool:
    """Part of the built-in prompts: some of the (topic, object, template) cells."""

    def __init__(self, source: GrammarSource, order: Ids, cells: Ids) -> None:
        self._source = source
        self._order = order
        self._cells = cells
        templates = source._sizes["template"][order]
        self._templates = templates
        self._ends = np.cumsum(source._sizes["object"][order] * templates)

    def draw(self, count: int, rng: np.random.Generator) -> Ids:
        cells = rng.choice(self._cells, count)
        which = np.searchsorted(self._ends, cells, side="right")
        start = np.where(which > 0, self._ends[which - 1], 0)
        objects, templates = np.divmod(cells - start, self._templates[which])
        ids = self._source.draw(self._order[which], objects, rng)
        return ids & ~pack(template=63) | pack(template=templates)

    def corpora(self) -> frozenset[str]:
        return frozenset({CORPUS})


def _role(area: str) -> Role:
    return "service" if area == "support" else "general"
