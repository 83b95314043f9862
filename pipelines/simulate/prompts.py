"""Where prompts come from: one interface over invented text and over corpora.

A prompt is an int64 id until it is written out, so that who asks what is decided in arrays and text
is made once, at the end. A *topic* is what a person comes back to, an *area* a group of related
topics (a domain, or a corpus).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Role = Literal["general", "service", "benchmark"]


class Pool(Protocol):
    """Something that keeps handing out prompts to one account."""

    def draw(self, count: int, rng: np.random.Generator) -> Ids:
        """The next `count` prompt ids, int64 of shape (count,)."""
        ...

    def corpora(self) -> frozenset[str]:
        """Names of the corpora that prompts can come from."""
        ...


class PromptSource(Protocol):
    """A collection of prompts.

    Attributes:
      topics: names of the topics; a topic's number is its index.
      area_of: int64 of shape (topics,), the area of each topic.
      areas: names of the areas.
      roles: what each area is fit for: `service` belongs to one business's customers, `benchmark`
        to evaluators (and people), `general` to people.
      benign_topics, attack_topics: topic numbers that benign accounts and attackers draw from.
    """

    topics: tuple[str, ...]
    areas: tuple[str, ...]
    roles: tuple[Role, ...]
    area_of: Ids
    benign_topics: Ids
    attack_topics: Ids
    meta_prompts: tuple[str, ...]

    def units(self, topic: int) -> int:
        """How many narrower subjects a topic has (1 if it is not divided)."""
        ...

    def draw(self, topics: Ids, units: Ids, rng: np.random.Generator) -> Ids:
        """One prompt for each topic number; a unit of -1 means any subject of the topic."""
        ...

    def documents(self, topics: Ids, units: Ids, rng: np.random.Generator) -> Ids:
        """Like `draw`, but texts to work on (to translate, to index) where the source has them."""
        ...

    def follow(self, first: Ids, turns: Ids, rng: np.random.Generator) -> Ids:
        """What is asked at `turns` (1, 2, …) of the conversations that began with `first`."""
        ...

    def sweep(self, number: int) -> Ids:
        """A fixed list of prompts, such as a benchmark: the same for everyone who asks for it."""
        ...

    def published(self, number: int) -> Ids:
        """A fixed list of prompts known from an earlier extraction."""
        ...

    def shards(
        self, count: int, topics: Ids, rng: np.random.Generator, disjoint: bool
    ) -> list[Pool]:
        """The prompts of `topics` divided among `count` accounts.

        Disjoint shards cut the topic space into contiguous, narrow parts that do not overlap.
        Otherwise each shard is a random, broad part.
        """
        ...

    def topic_of(self, ids: Ids) -> Ids:
        """Topic number of each prompt."""
        ...

    def corpora_of(self, topics: Ids) -> frozenset[str]:
        """Names of the corpora behind topics."""
        ...

    def render(self, ids: Ids, styles: NDArray[np.int8]) -> list[str]:
        """Texts of prompts, written in the given styles where the source can vary them."""
        ...


@dataclass(slots=True)
class TopicPool:
    """A few topics that are come back to, with now and then something else.

    Attributes:
      source: prompts.
      topics: int64 of shape (k,).
      weights: float64 of shape (k,), sums to 1.
      focus: for each topic, the subjects that are asked about; empty means all.
      explore: probability of a prompt from anywhere in the benign topics.
      documents: whether texts to work on are drawn instead of requests.
    """

    source: PromptSource
    topics: Ids
    weights: NDArray[np.float64]
    focus: Sequence[Ids] = ()
    explore: float = 0.0
    documents: bool = False

    def draw(self, count: int, rng: np.random.Generator) -> Ids:
        cumulative = np.cumsum(self.weights)
        which = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")
        which = np.minimum(which, len(self.topics) - 1)
        topics = self.topics[which]
        units = np.full(count, -1, np.int64)
        if self.focus:
            pick = rng.random(count)
            for index, subjects in enumerate(self.focus):
                mine = which == index
                if len(subjects) and mine.any():
                    units[mine] = subjects[(pick[mine] * len(subjects)).astype(np.int64)]
        if self.explore > 0:
            away = rng.random(count) < self.explore
            if away.any():
                topics[away] = rng.choice(self.source.benign_topics, int(away.sum()))
                units[away] = -1
        ask = self.source.documents if self.documents else self.source.draw
        return ask(topics, units, rng)

    def corpora(self) -> frozenset[str]:
        return self.source.corpora_of(self.topics)


@dataclass(slots=True)
class BroadPool:
    """Prompts from many topics evenly: what someone asks who wants everything."""

    source: PromptSource
    topics: Ids

    def draw(self, count: int, rng: np.random.Generator) -> Ids:
        topics = rng.choice(self.topics, count)
        return self.source.draw(topics, np.full(count, -1, np.int64), rng)

    def corpora(self) -> frozenset[str]:
        return self.source.corpora_of(self.topics)


@dataclass(slots=True)
class ListPool:
    """A list that is gone through in order, and again from its start when it ends."""

    source: PromptSource
    ids: Ids
    position: int = 0

    def draw(self, count: int, rng: np.random.Generator) -> Ids:
        where = (self.position + np.arange(count)) % len(self.ids)
        self.position += count
        return self.ids[where]

    def corpora(self) -> frozenset[str]:
        return self.source.corpora_of(np.unique(self.source.topic_of(self.ids)))


@dataclass(slots=True)
class SharedPool:
    """Many end users behind one account, each with a few topics of their own.

    An end user's topics follow from a number, so that any number of users costs no memory.
    """

    source: PromptSource
    topics: Ids
    users: int
    salt: int
    per_user: int = 3
    last_users: Ids = field(default_factory=lambda: np.empty(0, np.int64))

    def draw(self, count: int, rng: np.random.Generator) -> Ids:
        # Some users ask far more often than others: a power of a uniform number is skewed enough.
        users = (self.users * rng.random(count) ** 2).astype(np.int64)
        slot = rng.integers(0, self.per_user, count)
        mixed = (users * 7919 + slot * 104729 + self.salt) * 2654435761 & 0x7FFFFFFF
        topics = self.topics[mixed % len(self.topics)]
        sizes = np.array([self.source.units(int(t)) for t in np.unique(topics)])
        units = (mixed >> 7) % sizes[np.searchsorted(np.unique(topics), topics)]
        units = np.where(rng.random(count) < 0.7, units, -1)
        self.last_users = users
        return self.source.draw(topics, units, rng)

    def corpora(self) -> frozenset[str]:
        return self.source.corpora_of(self.topics)


def zipf_weights(count: int, exponent: float = 1.0) -> NDArray[np.float64]:
    """Shares of `count` things of falling popularity, float64 of shape (count,), sum 1."""
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised
