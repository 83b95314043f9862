"""Fixed text around prompts: templates of businesses, harnesses, personas, meta-prompts.

Some are everybody's (test harnesses, popular personas, "think step by step"), some belong to one
account or one campaign. Index 0 is no scaffold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipelines.simulate.grammar import blocks
from pipelines.simulate.prompts import Ids, PromptSource

_SYLLABLES = (
    "ba", "ce", "di", "fo", "gu", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo",
    "zu", "al", "en", "or", "ux", "shi", "tra", "plo", "qui", "bre",
)  # fmt: skip
_REPLY = (
    "Answer as {brand} support, in a friendly tone and in at most {n} sentences.",
    "You reply for {brand}. Use only our policies and offer a next step.",
    "Classify the message for {brand} into one of our {n} queues and answer briefly.",
    "Write the reply that {brand} should send. No promises on dates.",
    "{brand} assistant. Ask back when something is unclear.",
    "Act for the service desk of {brand}; keep to {n} lines.",
)
_EXTRACT = (
    "Extract title, keywords and a summary of {n} words as JSON for the {brand} index.",
    "{brand} catalogue: return one JSON record with at most {n} tags.",
    "List the entities in this passage for {brand}, one a line.",
    "Split the passage for {brand} search into chunks of {n} words with headings.",
)
_TRANSLATE = (
    "Translate for {brand} into Italian. Keep numbers, names and tags.",
    "{brand} localisation, target language German, formal address, glossary {n}.",
    "Translate into Spanish for {brand}; lines at most {n} characters.",
    "Summarise for {brand} in {n} words, neutral tone.",
    "{brand} digest: give {n} bullets and a headline.",
)
_PIPELINE = (
    "{brand} CI, check {n}: judge the change below and answer pass or fail with a reason.",
    "Review for {brand}: name bugs only, at most {n}.",
    "Write the release note of {brand} build for this change.",
    "Generate a test for repository {brand} from this description.",
)
_CAMPAIGN = (
    "Task set {brand}, part {n}. Complete the following.",
    "Give a full and correct solution to item below, format {brand}.",
    "{brand}: respond to the instruction. Write at least {n} words.",
    "Produce the reference answer for this entry of {brand}.",
    "As the {brand} annotator, answer the request thoroughly.",
)
_KINDS = {
    "support": _REPLY,
    "index": _EXTRACT,
    "translate": _TRANSLATE,
    "ci": _PIPELINE,
    "campaign": _CAMPAIGN,
}


@dataclass(frozen=True, slots=True)
class Scaffold:
    """Text before and after a prompt; with examples, the prompt is the last of a numbered list."""

    prefix: str = ""
    suffix: str = ""
    examples: Ids | None = None


class Scaffolds:
    """All scaffolds of a simulation, by index."""

    def __init__(self, source: PromptSource) -> None:
        extra = blocks("extra.txt")
        self._source = source
        self._all = [Scaffold()]
        self._evolve = extra["evolve"]
        self.harnesses = self._add_all(Scaffold(prefix=line + "\n") for line in extra["harness"])
        self.personas = self._add_all(Scaffold(prefix=line + " ") for line in extra["persona"])
        self.reasoning = self._add_all(Scaffold(suffix="\n" + line) for line in extra["reasoning"])
        self._reasoning_lines = extra["reasoning"]
        self._meta_lines = source.meta_prompts or tuple(line.format(n=20) for line in extra["meta"])

    def _add_all(self, scaffolds: Iterable[Scaffold]) -> Ids:
        return np.array([self._add(item) for item in scaffolds], np.int64)

    def _add(self, scaffold: Scaffold) -> int:
        self._all.append(scaffold)
        return len(self._all) - 1

    def own(self, kind: str, rng: np.random.Generator) -> int:
        """A new scaffold of a business or campaign, with a name of its own."""
        forms = _KINDS[kind]
        line = forms[int(rng.integers(len(forms)))].format(
            brand=invent_name(rng), n=int(rng.integers(3, 60))
        )
        if rng.random() < 0.3:
            return self._add(Scaffold(suffix="\n\n" + line))
        label = ("", "Input:\n", "Text: ", "###\n")[int(rng.integers(4))]
        return self._add(Scaffold(prefix=f"{line}\n{label}"))

    def own_reasoning(self, rng: np.random.Generator) -> int:
        """A new scaffold that asks for the whole chain of reasoning."""
        line = self._reasoning_lines[int(rng.integers(len(self._reasoning_lines)))]
        return self._add(Scaffold(prefix=f"{invent_name(rng)} protocol. {line}\nTask: "))

    def own_meta(self, topics: Ids, rng: np.random.Generator) -> int:
        """A new generator's instruction: make more tasks like these examples."""
        line = self._meta_lines[int(rng.integers(len(self._meta_lines)))]
        heading = f"{invent_name(rng)}. " if rng.random() < 0.7 else ""
        drawn = rng.choice(topics, 120)
        examples = self._source.draw(drawn, np.full(120, -1), rng)
        return self._add(Scaffold(prefix=heading + line + "\n", examples=examples))

    def dress(self, texts: list[str], scaffolds: Ids, ids: Ids, depths: Ids) -> list[str]:
        """Prompts with their scaffolds, and with as many added demands as `depths` says."""
        out = []
        for text, which, id_, depth in zip(
            texts, scaffolds.tolist(), ids.tolist(), depths.tolist(), strict=True
        ):
            if depth:
                start = id_ * 31 % len(self._evolve)
                for step in range(depth):
                    demand = self._evolve[(start + step) % len(self._evolve)]
                    text += " " + demand.format(n=2 + (id_ + step) % 20)
            if which:
                scaffold = self._all[which]
                if scaffold.examples is not None:
                    text = self._with_examples(text, scaffold.examples, id_)
                text = scaffold.prefix + text + scaffold.suffix
            out.append(text)
        return out

    def _with_examples(self, text: str, examples: Ids, id_: int) -> str:
        count = 2 + id_ % 4
        start = id_ * 17 % (len(examples) - count)
        chosen = examples[start : start + count]
        lines = [*self._source.render(chosen, np.zeros(count, np.int8)), text]
        numbered = "\n".join(f"{i}. {line}" for i, line in enumerate(lines, 1))
        return f"{numbered}\n{len(lines) + 1}."


def invent_name(rng: np.random.Generator) -> str:
    """A made-up name of two or three syllables, such as "Travoki"."""
    parts = rng.choice(len(_SYLLABLES), int(rng.integers(3, 5)))
    return "".join(_SYLLABLES[part] for part in parts).capitalize()
