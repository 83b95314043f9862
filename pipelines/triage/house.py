"""What a house has decided beforehand, as far as the pages show it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pipelines.triage.states import Quiet
from transforms.alerts.paging import read_policies
from transforms.alerts.rules import Rules


def _usual() -> Rules:
    return Rules(read_policies(None))


@dataclass(frozen=True)
class House:
    """See the module.

    Attributes:
      rules: policies, channels, allowlist, and links.
      book: file of the alerts and their messages; None where there is none on this machine.
    """

    rules: Rules = field(default_factory=_usual)
    book: Path | None = None

    @property
    def quiet(self) -> Quiet:
        """What it lets pass."""
        return Quiet(self.rules.growth, self.rules.allowlist)
