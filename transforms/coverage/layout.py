"""What a coverage sketch holds: the names, ranges and capacities of its parts.

A sketch written under one layout is read under the same one only: `LAYOUT_VERSION` is part of every
encoded sketch and of every bundle.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from schemas.versions import LAYOUT_VERSION as LAYOUT_VERSION
from transforms.embedding.space import AXES


class Sum(IntEnum):
    """Slots of the vector of plain sums (int64)."""

    EVENTS = 0
    VECTORS = 1
    INPUT_TOKENS = 2
    OUTPUT_TOKENS = 3
    REASONING_TOKENS = 4
    SATURATED = 5  # answers that used up max_output_tokens
    COST_MICROUSD = 6
    BLOCKED = 7  # status 403 and 429
    TOOL_REQUESTS = 8
    STRUCTURED = 9
    CODE = 10
    CONTINUED = 11  # turn_index > 0 in a named conversation
    PROMPT_CHARS = 12
    WITH_OUTPUT = 13  # requests that say how many tokens came out
    WITH_CONVERSATION = 14
    NEARNESS = 15  # thousandths of a cosine to the nearest cell's centre, over all vectors


class Bins(IntEnum):
    """First index of each histogram in the one sparse index space (uint16)."""

    CELL = 0  # codebook cells, at most 1,024
    HOUR_OF_WEEK = 1024  # 168, Monday 00:00 UTC first
    PREFIX_SCAFFOLD = 1192  # 256 hash buckets
    SUFFIX_SCAFFOLD = 1448  # 256
    INPUT_SIZE = 1704  # 24 octaves of input tokens
    TRAIL = 1728  # 32 days, the day since 1970 modulo 32, of 16 coarse topics each
    CAPABILITY = 2240  # 16, see `ingest.capabilities`
    INTENT = 2256  # 8, see `ingest.intents`
    KNOWN = 2264  # 16 collections of known texts
    END = 2280


MAX_CELLS = int(Bins.HOUR_OF_WEEK)
TRAIL_DAYS = 32  # longer than a profile window, so that no two of its days meet in one slot
TRAIL_TOPICS = 16  # a cell's topic is its number modulo 15; what has no vector is the last


class Items(IntEnum):
    """Sets of 56-bit hashes, of which the smallest are kept, with how often each was seen."""

    PAYMENT = 0
    NETWORK = 1
    CLIENT = 2
    PREFIX_SCAFFOLD = 3
    SUFFIX_SCAFFOLD = 4
    OPENING_SENTENCE = 5
    CLOSING_SENTENCE = 6
    SYSTEM_PROMPT = 7
    PROMPT = 8
    MINUTE = 9
    HOUR = 10
    MODEL = 11
    CREDENTIAL = 12
    ORGANIZATION = 13
    PEER = 14


CAPACITY = np.array(
    [16, 32, 16, 24, 24, 24, 24, 8, 64, 64, 64, 8, 8, 4, 4], dtype=np.int64
)  # by Items
HASH_BITS = np.uint64(56)
HASH_MASK = np.uint64((1 << 56) - 1)

GROUPS = 12  # conversations (or ten-minute slots) sampled for coherence
GROUP_SLOT_MS = 600_000
MAX_ROWS = 32  # up to here coordinates are kept one by one, beyond that only their moments
MOMENT = AXES * (AXES + 1) // 2
UPPER = np.triu_indices(AXES)

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
NEVER_MS = 1 << 62
