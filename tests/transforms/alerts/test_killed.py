"""A sender that is killed at any moment loses nothing; its receiver can tell what comes twice."""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

from tests.support.receivers import receiver
from transforms.alerts.book import Book

_ALERTS, _KILLS = 40, 8
_PROCESS = """
    import sys, time
    from pathlib import Path
    from transforms.alerts.channels.webhook import Webhook
    from transforms.alerts.desk import Desk
    from transforms.alerts.rules import Rules
    from transforms.alerts.book import Book
    from transforms.alerts.outbox import Backoff
    from transforms.alerts.paging import Policies, read_policies
    from transforms.alerts.routing import Channels
    from transforms.alerts.sender import Sender

    path, url, alerts = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    policies = [p.model_copy(update={"budget": p.budget.model_copy(update={
        "storm_alerts": 999, "alerts_per_day": 9999})}) for p in read_policies(None).policies]
    rules = Rules(Policies(policies=tuple(policies)), Channels.model_validate({
        "channels": {
            n: {"kind": "webhook", "url": "https://x", "secret": {"env": "X"}} for n in "ab"
        },
        "routes": [{"channels": ["a", "b"]}]}))
    clock = lambda: int(time.time() * 1000)

    def row(i, revision, **more):
        return {"cluster_id": f"c-{i}", "revision": revision, "window_start": 0, "status": "open",
                "severity": "medium", "account_count": 3, "request_count": revision,
                "exposure_usd": 1.0, "tactics": []} | more

    with Book(path) as book:
        desk = Desk(book, rules, clock)
        channels = {n: Webhook(f"{url}/{n}", "secret") for n in "ab"}
        sender = Sender(book, channels, Backoff(50, 200, 1000), clock, lambda _: None)
        for start in range(0, alerts, 5):
            batch = range(start, start + 5)
            desk.look([row(i, 1) for i in batch], {}, [])
            desk.look([row(i, 2, severity="high") for i in batch], {}, [])
            desk.look([row(i, 3, status="resolved") for i in batch], {}, [])
            sender.send_due()
        sender.send_until(60)
"""


def test_a_killed_sender_loses_nothing_and_repeats_under_the_same_key(tmp_path: Path) -> None:
    book, dice = tmp_path / "book", random.Random(7)
    program = textwrap.dedent(_PROCESS)
    wanted = {f"{revision}/{channel}": _ALERTS for revision in (1, 2, 3) for channel in ("a", "b")}
    with receiver() as server:
        arguments = [sys.executable, "-c", program, str(book), server.url, str(_ALERTS)]
        for _ in range(_KILLS):
            process = subprocess.Popen(arguments)
            server.wait_for(len(server.requests) + dice.randint(1, 25))
            process.kill()  # SIGKILL: nothing is cleaned up
            process.wait(60)
        assert subprocess.run(arguments, timeout=300, check=False).returncode == 0
        keys = [request.headers["webhook-id"] for request in server.requests]
    assert Counter(key.split("/", 1)[1] for key in set(keys)) == wanted
    # Only what was under way at a kill is told twice.
    assert len(keys) - len(set(keys)) <= _KILLS
    first = {key: keys.index(key) for key in set(keys)}
    for alert in {key.split("/")[0] for key in keys}:
        for channel in ("a", "b"):
            places = [first[f"{alert}/{revision}/{channel}"] for revision in (1, 2, 3)]
            assert places == sorted(places)
    with Book(book) as left:
        assert left.outbox.counts() == {"sent": _ALERTS * 6}
        assert len(left.unexported()) == _ALERTS * 3
