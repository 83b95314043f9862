"""How fast the triage pages are with many clusters and many people.

    python -m bench.triage_load --clusters 100000 --people 50

Each person asks for a page, looks at it for some seconds, and asks for the next: the queue and its
filters, the page after, a search, and mostly cases, of which each is another one. Some pages are
trivial: the list of keys, which passes sign-in, limits and templates as all do, and asks the tables
nothing. What is said of a page is its 95th percentile, and the ratio to that of the trivial page
in the same minutes, which says more about the pages than about the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import httpx
import numpy as np
import yaml

from bench.triage_tables import make_tables
from infra.local.services import free_ports

PATHS = {
    "queue": ("/", "/?state=any", "/?severity=high", "/?state=any&tactic=hand_over"),
    "trivial": ("/keys",),
}
WEIGHTS = {"queue": 3, "search": 1, "case": 4, "trivial": 2}


async def person(
    url: str, number: int, names: list[str], until: float, think_s: float,
    took: dict[str, list[float]],
) -> None:  # fmt: skip
    """Asks for pages until a time; raises when one fails."""
    draw = random.Random(number)
    headers = {"X-Forwarded-Email": f"person{number}@example.org"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=120) as client:
        await asyncio.sleep(draw.uniform(0, think_s))
        while time.monotonic() < until:
            kind = draw.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            path = _path(kind, names, draw)
            began = time.perf_counter()
            answer = await client.get(path)
            took[kind].append(time.perf_counter() - began)
            answer.raise_for_status()
            await asyncio.sleep(draw.uniform(0.5, 1.5) * think_s)


def _path(kind: str, names: list[str], draw: random.Random) -> str:
    """An address; of a search and of a case one that hardly anybody asked for before."""
    if kind == "case":
        return f"/case/{draw.choice(names)}"
    if kind == "search":
        begin = draw.choice(names)[: draw.randint(3, 8)]
        return draw.choice((f"/?text={begin}", f"/?state=any&text=acct-{draw.randrange(4096):03x}"))
    return draw.choice(PATHS[kind])


async def crowd(
    url: str, people: int, names: list[str], seconds: float, think_s: float
) -> dict[str, list[float]]:
    """Seconds that each page took, by kind."""
    took: dict[str, list[float]] = defaultdict(list)
    until = time.monotonic() + seconds
    await asyncio.gather(
        *(person(url, i, names, until, think_s, took) for i in range(people))
    )  # fmt: skip
    return took


def measure(clusters: int, people: int, seconds: float, think_s: float) -> dict[str, object]:
    """Figures of one load; milliseconds.

    Args:
      clusters: in the tables.
      people: at once.
      seconds: of load.
      think_s: mean pause between two pages of a person.
    """
    with tempfile.TemporaryDirectory() as folder:
        tables = Path(folder, "out.duckdb")
        names = make_tables(tables, clusters)
        [port] = free_ports(1)
        url = f"http://127.0.0.1:{port}"
        config = Path(folder, "triage.yaml")
        proxy = {"trusted": ["127.0.0.1"]}
        settings = {"sign_in": "proxy", "public_url": url, "proxy": proxy}
        config.write_text(yaml.safe_dump({"triage": settings}))
        command = [sys.executable, "-m", "pipelines.cli", "triage", "--output"]
        command += [f"duckdb:///{tables}", "--port", str(port), "--config", str(config)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=dict(os.environ)) as server:
            try:
                _wait(f"{url}/healthz", server)
                took = asyncio.run(crowd(url, people, names, seconds, think_s))
            finally:
                server.terminate()
    at = {k: [round(1000 * float(np.quantile(v, q)), 1) for q in (0.5, 0.95)]
          for k, v in sorted(took.items())}  # fmt: skip
    real = [v for kind, values in took.items() if kind != "trivial" for v in values]
    return {
        "clusters": clusters,
        "people": people,
        "think_s": think_s,
        "pages": sum(map(len, took.values())),
        "median_and_p95_ms": at,
        "p95_ratio": {k: round(v[1] / at["trivial"][1], 1) for k, v in at.items()},
        "p95_ratio_of_all": round(1000 * float(np.quantile(real, 0.95)) / at["trivial"][1], 1),
    }


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(1_200):
        if server.poll() is not None:
            raise SystemExit(f"the server ended with {server.returncode}")
        try:
            httpx.get(url, timeout=10)
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise SystemExit("the server does not answer")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clusters", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--think", type=float, default=5, help="mean pause of a person, seconds")
    args = parser.parse_args()
    print(json.dumps(measure(args.clusters, args.people, args.seconds, args.think), indent=2))


if __name__ == "__main__":
    main()
