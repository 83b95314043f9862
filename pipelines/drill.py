"""`distilwatch alerts drill`: a made-up campaign, all the way to a page, and how long that takes.

A small world with one campaign in it is simulated, learnt from and scored in a folder of its own,
so that nothing of it gets into real tables. Its alerts are in the namespace `drill`: other names,
another book, [DRILL] before every title, and an end as soon as they were told. Only one alert is
told, of the largest cluster of the campaign; the time counts from the moment its events can be read
to the moment a receiver took the page.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from pipelines.config import Config
from pipelines.console import Console
from pipelines.labels import read_labels
from pipelines.oncall import OnCall, now_ms, rules_of
from pipelines.tables import columns, connect, rows
from transforms.alerts.book import Book
from transforms.alerts.channels import Channel, open_channel
from transforms.alerts.channels.webhook import Webhook, verify
from transforms.alerts.outbox import Backoff
from transforms.alerts.routing import Channels, Route, WebhookChannel
from transforms.alerts.rules import Rules
from transforms.alerts.sender import Sender

NAMESPACE = "drill"
LOCAL = "local-receiver"
_ATTACK = "hydra-disjoint:m=24,rate=46,links=1"
_SEND_S = 120.0


@dataclass(frozen=True)
class Drill:
    """What the drill showed.

    Attributes:
      accounts: of the campaign that was injected.
      found: of these, in clusters that were flagged.
      clusters: that were flagged, largest first; the first was paged.
      severity: of the first.
      detect_s, told_s: from injection to the tables, and to the first page that was taken.
      channels: seconds from injection until each channel took its first page.
      missed: channels that did not take it.
    """

    accounts: int
    found: int
    clusters: list[str]
    severity: str
    detect_s: float
    told_s: float | None
    channels: dict[str, float]
    missed: list[str]

    @property
    def passed(self) -> bool:
        """Whether somebody would have been paged on every channel."""
        return self.told_s is not None and not self.missed

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return vars(self) | {"drill": True, "passed": self.passed}

    def lines(self) -> list[str]:
        """For people."""
        lines = [
            "This was a drill: the campaign was made up, and its alerts are over.",
            f"Injected: {self.accounts} accounts. Flagged: {self.found} of them, in "
            f"{len(self.clusters)} cluster{'' if len(self.clusters) == 1 else 's'}; the largest is "
            f"of severity {self.severity or 'none'}.",
        ]
        if self.told_s is None:
            return [*lines, "Nobody was paged. That is what the drill is there to find out."]
        told = ", ".join(f"{name} after {s:.1f} s" for name, s in self.channels.items())
        lines.append(
            f"Time to page: {self.told_s:.1f} s, of which {self.detect_s:.1f} s were detection. "
            f"Paged: {told}."
        )
        if self.missed:
            lines.append(f"Not reached: {', '.join(self.missed)}.")
        if list(self.channels) == [LOCAL]:
            lines.append(
                "No channel is configured for on-call (alerts.channels), so the page went to a "
                "receiver that was started for it on this machine."
            )
        return lines


def drill(config: Config, bundle: Path | None, seed: int | None, console: Console) -> Drill:
    """Runs the drill.

    Args:
      config: settings; channels, routes and links are those of the real thing.
      bundle: to score with; None: one is trained on the drill's own history.
      seed: of the made-up world; None: another each time.

    Raises:
      DistilwatchError: a step cannot be done.
    """
    from pipelines.detect import DetectOptions, detect
    from pipelines.simulate.run import SimulateOptions
    from pipelines.simulate.run import run as simulate
    from pipelines.simulate.scenario import Scenario, parse_attack
    from pipelines.train import TrainOptions, train

    seed = secrets.randbelow(1 << 30) if seed is None else seed
    rules = rules_of(config.alerts, NAMESPACE)
    quiet = config.model_copy(
        update={"alerts": config.alerts.model_copy(update={"channels": None, "book": None})}
    )
    with (
        tempfile.TemporaryDirectory(prefix="distilwatch-drill-", dir=config.run.tmp) as name,
        _told(rules) as (rules, channels),
    ):
        folder = Path(name)
        history, live, labels = (folder / f for f in ("h.jsonl", "l.jsonl", "labels.jsonl"))
        world = Scenario(
            seed, days=8, history_days=5, accounts=200, events=14_000,
            campaigns=(parse_attack(_ATTACK),),
        )  # fmt: skip
        simulate(SimulateOptions(str(live), str(history), labels, world), console)
        if bundle is None:
            bundle = folder / "bundle"
            train(TrainOptions([str(history)], bundle, quiet, "direct", []), console)
        campaign = {a for a, label in read_labels(labels).items() if label.attack}
        database = folder / "out.duckdb"
        output = f"duckdb:///{database}"
        began = now_ms()
        detect(DetectOptions([str(live)], bundle, [output], quiet, "direct", None, []), console)
        detected = now_ms()
        console.step("Page who is on call")
        clusters, accounts = _of_campaign(database, campaign)
        with Book(folder / "drill.alerts") as book:
            desk = OnCall(quiet, [output], book, rules, "drill")
            desk.look_at(clusters[:1], accounts)
            sender = Sender(book, channels, Backoff(500, 5_000, 8), now_ms, console.warn)
            _send(sender, book)
            taken = _taken(book, began)
            missed = sorted(
                {m.channel for m in book.outbox.messages(["pending", "dead"])} - taken.keys()
            )
            desk.look_at([row | {"status": "resolved"} for row in clusters[:1]], accounts)
            _send(sender, book)
    return Drill(
        len(campaign),
        len(campaign & {a for held in accounts.values() for a in held}),
        [row["cluster_id"] for row in clusters],
        clusters[0]["severity"] if clusters else "",
        (detected - began) / 1000,
        min(taken.values(), default=None),
        taken,
        missed,
    )


def _of_campaign(
    database: Path, campaign: set[str]
) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """Clusters of which most accounts are the campaign's, largest first: chance finds others in any
    world, and nobody should be paged for those in a drill."""
    with connect(database) as connection:
        found = rows(connection, f"SELECT {columns('flagged_clusters')} FROM current_clusters")
        members: dict[str, list[str]] = {}
        for row in rows(
            connection,
            "SELECT m.cluster_id, m.account_id FROM cluster_members m JOIN current_clusters c "
            "ON m.cluster_id = c.cluster_id AND m.revision = c.revision "
            "AND (m.window_start IS NULL OR m.window_start = c.window_start) ORDER BY ALL",
        ):
            members.setdefault(row["cluster_id"], []).append(row["account_id"])
    mine = {n for n, held in members.items() if 2 * len(campaign & set(held)) > len(held)}
    clusters = [row for row in found if row["cluster_id"] in mine and row["status"] != "resolved"]
    clusters.sort(key=lambda row: (-row["account_count"], row["p_value"], row["cluster_id"]))
    return clusters, {name: members[name] for name in mine}


def _send(sender: Sender, book: Book) -> None:
    """A drill does not wait for quiet hours to end, but for receivers that fail it does a while."""
    book.outbox.hurry(now_ms())
    sender.send_until(_SEND_S)


def _taken(book: Book, began: int) -> dict[str, float]:
    first: dict[str, int] = {}
    for message in book.outbox.messages(["sent"]):
        assert message.done_ms is not None  # it was sent
        first[message.channel] = min(message.done_ms, first.get(message.channel, message.done_ms))
    ordered = sorted(first.items(), key=lambda pair: pair[1])
    return {name: (at - began) / 1000 for name, at in ordered}


@contextmanager
def _told(rules: Rules) -> Iterator[tuple[Rules, dict[str, Channel]]]:
    """The real channels; where the audience of nights has none, a receiver on this machine."""
    if rules.channels.of("on-call", "high") or rules.channels.of("on-call", "critical"):
        opened = {name: open_channel(own) for name, own in rules.channels.channels.items()}
        yield rules, opened
        return
    secret = secrets.token_hex(16)
    with _receiving(secret) as url:
        settings = WebhookChannel.model_validate(
            {"kind": "webhook", "url": url, "secret": {"env": "UNUSED"}}
        )
        local = Channels(channels={LOCAL: settings}, routes=(Route(channels=(LOCAL,)),))
        yield replace(rules, channels=local), {LOCAL: Webhook(url, secret)}


@contextmanager
def _receiving(secret: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            good = verify(secret, headers, content, time.time())
            self.send_response(204 if good else 401)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
