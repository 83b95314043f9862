"""When an account was at work: what co-activity and hand-over are told from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Activity(NamedTuple):
    """Times of one account, in a few hundred bytes.

    Attributes:
      minutes: uint64 of shape (m,), ascending, the smallest hashes of the minutes with a request, m
        at most 64; fewer than 64 are all there are.
      first_ms, last_ms: of its requests, milliseconds UTC.
      blocked: requests that were refused with 403 or 429.
    """

    minutes: NDArray[np.uint64]
    first_ms: int
    last_ms: int
    blocked: int


NO_ACTIVITY = Activity(np.empty(0, np.uint64), 0, 0, 0)
