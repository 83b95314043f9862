"""What a house has decided beforehand, as far as the pages show it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pipelines.live_rules import InForce, LiveRules, version_of
from pipelines.triage.states import Quiet
from transforms.alerts.paging import read_policies
from transforms.alerts.rules import Rules


def _usual() -> Rules:
    return Rules(read_policies(None))


@dataclass(frozen=True)
class House:
    """See the module.

    Attributes:
      read: policies, channels, allowlist, and links, as they were read at the start.
      book: file of the alerts and their messages; None where there is none on this machine.
      live: reads policies and allowlist anew; None where they stay as they are.
      began_ms: when that was, milliseconds UTC.
    """

    read: Rules = field(default_factory=_usual)
    book: Path | None = None
    live: LiveRules | None = None
    began_ms: int = field(default_factory=lambda: int(time.time() * 1000))

    @property
    def in_force(self) -> InForce:
        """What counts now."""
        return self._fixed if self.live is None else self.live.look()

    @cached_property
    def _fixed(self) -> InForce:
        return InForce(self.read, version_of(self.read), self.began_ms)

    @property
    def rules(self) -> Rules:
        """What counts now."""
        return self.in_force.rules

    def quiet(self) -> Quiet:
        """What it lets pass, now."""
        rules = self.rules
        return Quiet(rules.growth, rules.allowlist)
