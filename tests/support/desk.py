"""A desk of alerts on a book of its own, with a clock that is set by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from schemas.tables import TABLES
from transforms.alerts.book import Book
from transforms.alerts.desk import Desk
from transforms.alerts.dispositions import Disposition
from transforms.alerts.outbox import Backoff
from transforms.alerts.paging import Budget, Policies, Policy
from transforms.alerts.routing import Channels
from transforms.alerts.rules import Rules
from transforms.alerts.sender import Sender

NOON = 1_780_315_200_000  # 2026-06-01 12:00 UTC
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
Row = dict[str, Any]

POLICY = Policy(
    name="campaign",
    description="Clusters of several accounts, for tests.",
    when={"account_count": {"at_least": 2}},
    audience="on-call",
    owner="team",
    runbook="runbook.md#x",
    check=("Look at the map.",),
    false_positives=("A reseller.",),
    known_gaps=("Single accounts.",),
    budget=Budget(alerts_per_day=50, storm_alerts=4, storm_minutes=60),
)
CHANNELS = Channels.model_validate(
    {
        "channels": {
            name: {"kind": "webhook", "url": "http://x", "secret": {"env": "X"}}
            for name in ("hook", "pager")
        },
        "routes": [
            {"channels": ["hook"]},
            {"severity": ["high", "critical"], "channels": ["pager"]},
        ],
    }
)


def cluster(name: str = "c-1", revision: int = 10, severity: str = "medium", **more: Any) -> Row:
    return {
        "cluster_id": name, "revision": revision, "window_start": NOON - DAY,
        "window_end": NOON + DAY, "status": "open", "severity": severity, "score": 1.0,
        "p_value": 0.001, "q_value": 0.05, "first_seen": NOON - HOUR, "last_seen": NOON,
        "account_count": 4, "request_count": revision, "exposure_usd": 12.0, "tactics": [],
        "capabilities": [], "links": [], "known_texts": [],
    } | more  # fmt: skip


ACCOUNTS = {"c-1": ["a1", "a2", "a3", "a4"]}


class Office:
    """A desk on a book, with a clock that is set by hand."""

    def __init__(self, path: Path, **rules: Any) -> None:
        self.now = NOON
        self.path = path
        self.rules = Rules(Policies(policies=(POLICY,)), **{"channels": CHANNELS, **rules})
        self.book = Book(path)

    def look(
        self,
        *rows: Row,
        accounts: Mapping[str, Sequence[str]] = ACCOUNTS,
        said: Sequence[Disposition] = (),
    ) -> list[str]:
        desk = Desk(self.book, self.rules, lambda: self.now)
        made = desk.look(rows, accounts, said)
        TABLES["alerts"].to_arrow(made)  # rows of the table, and of nothing else
        return [f"{row['step']} {row['cluster_id']}" for row in made]

    def waiting(self) -> list[tuple[str, str]]:
        return sorted(
            (message.channel, message.notice["step"]) for message in self.book.outbox.due(self.now)
        )

    def restart(self) -> None:
        self.book.__exit__()
        self.book = Book(self.path)


class Script:
    """A channel that does what it is told, and notes the keys that it took."""

    def __init__(self, *script: Exception | None) -> None:
        self.script = list(script)
        self.took: list[str] = []
        self.tried: list[str] = []

    def tell(self, key: str, notice: Mapping[str, Any], thread: Any) -> Any:
        self.tried.append(key)
        problem = self.script.pop(0) if self.script else None
        if problem is not None:
            raise problem
        self.took.append(key)
        return None


def sender(desk: Office, channel: Script, **backoff: int) -> tuple[Sender, list[str]]:
    warned: list[str] = []
    channels = {"hook": channel, "pager": channel}
    return Sender(desk.book, channels, Backoff(**backoff), lambda: desk.now, warned.append), warned
