"""A tiny folder of corpora, invented here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

TOPICS = {
    "ben_query_wellformed": "who what when where which river mountain singer country born capital",
    "ben_banking77": "card bank transfer pending account balance top up refund fee exchange",
    "ben_nl2bash": "find files directory recursively print list lines owner permission archive",
    "ben_mmlu": "statement true false ring theorem court defendant patient disease econometrics",
    "ben_restaurant8k": "table booking people tonight dinner reservation name phone evening guests",
    "atk_alpaca_5k": "write describe generate summarize explain create essay story classify",
    "atk_belle_zh": "compose translate outline propose rhyme imagine analyse compare invent list",
    "atk_codealpaca": "implement python javascript function class array sort recursion query regex",
    "atk_lamini_dataset": "tell recommend suggest brainstorm improve design plan teach argue",
}


def write_corpora(folder: Path, rows: int = 900, seed: int = 5) -> Path:
    """Writes a corpus for each of `TOPICS`: prompts of words of its own and of common ones."""
    folder.mkdir(parents=True, exist_ok=True)
    common = ("please", "can", "you", "the", "a", "of", "about", "with", "my", "for", "to", "in")
    for number, (name, words) in enumerate(TOPICS.items()):
        rng = np.random.default_rng((seed, number))
        own = words.split()
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as out:
            for row in range(rows):
                length = int(rng.integers(6, 12))
                chosen = [
                    str(rng.choice(own if rng.random() < 0.6 else common)) for _ in range(length)
                ]
                text = " ".join([*chosen, f"item{row}"])
                out.write(json.dumps({"text": text}) + "\n")
    return folder


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with benign and attack corpora of every part."""
    return write_corpora(tmp_path_factory.mktemp("corpora"))
