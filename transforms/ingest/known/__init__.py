"""Known texts: which prompts stand, word for word, in a published collection (F17).

A collection (a benchmark, the prompts of a past extraction) is kept as a Bloom filter of its
shingles. `build` makes it, `file` reads and writes it, `match` asks it; docs/known_texts.md says
what an answer means.
"""

from transforms.ingest.known.build import Builder
from transforms.ingest.known.file import (
    KINDS,
    MOST_FILES,
    About,
    Collection,
    Kind,
    open_collection,
    write_collection,
)
from transforms.ingest.known.match import CONTAINED, KnownTexts, containment

__all__ = [
    "CONTAINED",
    "KINDS",
    "MOST_FILES",
    "About",
    "Builder",
    "Collection",
    "Kind",
    "KnownTexts",
    "containment",
    "open_collection",
    "write_collection",
]
