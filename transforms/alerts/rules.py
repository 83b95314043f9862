"""What a house wants to be told, of what, and where."""

from __future__ import annotations

from dataclasses import dataclass, field

from transforms.alerts.allowlist import Allowlist
from transforms.alerts.paging import Policies
from transforms.alerts.routing import Channels
from transforms.alerts.standing import GrowthRule


@dataclass(frozen=True)
class Rules:
    """What a house wants to be told.

    Attributes:
      policies, channels, allowlist: as they were read.
      growth: when quiet ends.
      case_url, runbook_url: templates of links; see `notice`.
      namespace: "drill" for a drill, which then has alerts of its own.
    """

    policies: Policies
    channels: Channels = field(default_factory=Channels)
    allowlist: Allowlist = field(default_factory=Allowlist)
    growth: GrowthRule = field(default_factory=GrowthRule)
    case_url: str = ""
    runbook_url: str = ""
    namespace: str = ""
