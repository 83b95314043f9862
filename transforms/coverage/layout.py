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
    FAILED = 8  # other statuses of 400 and above
    TOOL_REQUESTS = 9
    STRUCTURED = 10
    CODE = 11
    REASONING_REQUESTS = 12
    CONTINUED = 13  # turn_index > 0 in a named conversation
    PROMPT_CHARS = 14
    COLD = 15  # temperature of at most 0.2
    WITH_OUTPUT = 16  # requests that say how many tokens came out
    WITH_CONVERSATION = 17
    NEARNESS = 18  # thousandths of a cosine to the nearest cell's centre, over all vectors


class Bins(IntEnum):
    """First index of each histogram in the one sparse index space (uint16)."""

    CELL = 0  # codebook cells, at most 1,024
    HOUR_OF_WEEK = 1024  # 168, Monday 00:00 UTC first
    PREFIX_SCAFFOLD = 1192  # 256 hash buckets
    SUFFIX_SCAFFOLD = 1448  # 256
    SYSTEM_PROMPT = 1704  # 128
    INPUT_SIZE = 1832  # 24 octaves of input tokens
    OUTPUT_SIZE = 1856  # 24 octaves of output tokens
    TRAIL = 1880  # 32 days, the day since 1970 modulo 32, of 16 coarse topics each
    CAPABILITY = 2392  # 16, see `ingest.capabilities`
    INTENT = 2408  # 8, see `ingest.intents`
    KNOWN = 2416  # 16 collections of known texts
    END = 2432


MAX_CELLS = int(Bins.HOUR_OF_WEEK)
TRAIL_DAYS = 32  # longer than a profile window, so that no two of its days meet in one slot
TRAIL_TOPICS = 16  # a cell's topic is its number modulo 15; what has no vector is the last


class Items(IntEnum):
    """Sets of 56-bit hashes, of which the smallest are kept, with how often each was seen."""

    ACCOUNT = 0
    PAYMENT = 1
    NETWORK = 2
    CLIENT = 3
    PREFIX_SCAFFOLD = 4
    SUFFIX_SCAFFOLD = 5
    SYSTEM_PROMPT = 6
    PROMPT = 7
    MINUTE = 8
    HOUR = 9
    MODEL = 10
    CREDENTIAL = 11
    COUNTRY = 12
    ORGANIZATION = 13
    PEER = 14
    CONVERSATION = 15
    OPENING_SENTENCE = 16
    CLOSING_SENTENCE = 17


CAPACITY = np.array(
    [48, 16, 32, 16, 24, 24, 8, 64, 64, 64, 8, 8, 8, 4, 4, 32, 24, 24], dtype=np.int64
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
