"""How often somebody may ask, by the library `limits`: a window that moves with the clock."""

from __future__ import annotations

import math
import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from pipelines.settings.triage import TriageConfig


class Limits:
    """Pages, decisions, sign-ins and refusals in a minute, of one process."""

    def __init__(self, config: TriageConfig) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._items = {
            "page": RateLimitItemPerMinute(config.pages_per_minute),
            "decision": RateLimitItemPerMinute(config.decisions_per_minute),
            "sign-in": RateLimitItemPerMinute(config.sign_ins_per_minute),
            "refused": RateLimitItemPerMinute(config.sign_ins_per_minute),
        }

    def wait(self, kind: str, who: str) -> int:
        """Seconds to wait before one more; 0 when it may be now, and then it counts.

        Args:
          kind: page, decision, sign-in or refused.
          who: a person's name, or an address.
        """
        item = self._items[kind]
        if self._limiter.hit(item, kind, who):
            return 0
        reset = self._limiter.get_window_stats(item, kind, who).reset_time
        return max(1, math.ceil(reset - time.time()))
