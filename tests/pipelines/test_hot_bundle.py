"""A real stream, a real broker, and a bundle that changes under them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.local.flink_cluster import FlinkCluster, WorkerPool, flink_libs
from infra.local.services import KafkaBroker
from tests.pipelines.test_bundles import blind, version
from tests.support.commands import result
from tests.support.events import START_MS
from tests.support.kafka import new_topic
from tests.support.leaks import leaks
from tests.support.sketches import small_bundle
from tests.support.small_world import as_lines, requests, settings_file
from tests.support.stream import Stream
from transforms.scoring.bundle import save_bundle
from transforms.scoring.store import point_to

HOUR = 3_600_000
# To bundles of people of another world everybody here is suspicious.
WATCHING = "bundles: {watch_every: 1 s, trial_min_items: 20, max_alert_rate: 1}\n"
HEALTH = "SELECT metric, value FROM run_health WHERE metric LIKE 'bundle_%'"
VERSIONS = """
    SELECT DISTINCT bundle_version FROM (
        SELECT * FROM session_scores WHERE key LIKE 'second%'
        QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY revision DESC) = 1)"""


@dataclass(frozen=True)
class Engine:
    """What a stream needs to run on one.

    Attributes:
      prism: its binary, where it is the one.
      options: of the command.
      settings: more of them, as YAML.
      goes_on: it starts from a savepoint; others begin with the topic.
    """

    prism: Path | None = None
    options: tuple[str, ...] = ()
    settings: str = ""
    goes_on: bool = False


@pytest.fixture(
    params=[
        pytest.param("prism", marks=pytest.mark.prism),
        pytest.param("flink", marks=pytest.mark.flink),
    ]
)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Prism, and Flink with workers in processes of their own."""
    if request.param == "prism":
        yield Engine(request.getfixturevalue("prism"))
        return
    cluster: FlinkCluster = request.getfixturevalue("flink")
    workers: WorkerPool = request.getfixturevalue("workers")
    monkeypatch.setenv("DISTILWATCH_FLINK_LIBS", str(flink_libs().absolute()))
    yield Engine(
        None,
        ("--runner", "flink", "--flink-master", cluster.master, "--run-id", "hot"),
        f'flink: {{workers: "{workers.address}", checkpoint_every: 2 s, read_for: 1 s}}\n',
        goes_on=True,
    )
    for job in cluster.rest("/jobs/overview")["jobs"]:
        if job["state"] in ("RUNNING", "RESTARTING", "CREATED"):
            cluster.rest(f"/jobs/{job['jid']}?mode=cancel", "PATCH")


@pytest.mark.kafka
@pytest.mark.slow
def test_a_stream_refuses_bad_bundles_and_changes_to_a_good_one_without_a_pause(
    kafka: KafkaBroker, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path / "home"))
    store = tmp_path / "models"
    save_bundle(small_bundle(), store / "a")
    save_bundle(small_bundle(1), store / "b")
    save_bundle(blind(small_bundle(1)), store / "blind")
    shutil.copytree(store / "b", store / "forged")
    manifest = (store / "forged" / "manifest.json").read_bytes()
    (store / "forged" / "manifest.sig").write_bytes(Ed25519PrivateKey.generate().sign(manifest))
    point_to(store, "a")
    topic = new_topic(kafka, 2)
    first = as_lines(requests(40, 8, HOUR, prefix="first"))
    second = as_lines(requests(20, 8, HOUR, START_MS + 2 * HOUR, 1, "second"))
    topic.produce((i % 2, line) for i, line in enumerate(first))
    settings = settings_file(tmp_path, WATCHING + engine.settings)
    source = f"{topic.uri}?bounded=false"
    a, b = version(store / "a"), version(store / "b")
    with Stream(tmp_path, engine.prism, source, store, settings, *engine.options) as stream:
        stream.until_read(len(first))
        versions = "SELECT DISTINCT bundle_version FROM session_scores"
        stream.until(lambda: stream.rows(versions) == [(a,)])

        (store / "current").write_text("forged")
        stream.until_said("bundle forged is refused")
        point_to(store, "blind")
        stream.until_said("bundle blind is refused")
        point_to(store, "b")
        stream.until_said(f"bundle {b} takes over from {a}")
        topic.produce((i % 2, line) for i, line in enumerate(second))
        stream.until_read(len(first) + len(second))
        stream.until(lambda: stream.rows(VERSIONS) == [(b,)])
        stream.until(
            lambda: (
                dict(stream.rows(HEALTH))
                == {
                    "bundle_refused": 2,
                    "bundle_refused_signature": 1,
                    "bundle_refused_alert_rate": 1,
                    "bundle_swapped": 1,
                }
            )
        )
        # Every row says who scored it; those of before the change stay as they were.
        scored_by = stream.rows(
            "SELECT DISTINCT bundle_version FROM session_scores WHERE key LIKE 'first%'"
        )
        assert (a,) in scored_by
        stopped = stream.stop()
        assert stopped["bundle_version"] == b

    # A new start goes on with it, as the same run.
    database = tmp_path / "out.duckdb"
    before_ns = database.stat().st_mtime_ns
    options = engine.options
    if engine.goes_on:
        options += ("--from-savepoint", stopped["savepoint"])
    with Stream(tmp_path, engine.prism, source, store, settings, *options) as again:
        again.until(lambda: database.stat().st_mtime_ns > before_ns)  # it has begun to write
        again.until_read(len(first) + len(second))
        assert again.stop()["bundle_version"] == b
    active = json.loads((tmp_path / "out.duckdb.spool" / "bundles" / "active.json").read_text())
    assert active["version"] == b
    assert "Traceback" not in again.errors()

    # What waits for trials of new bundles tells of accounts, and of nothing else; these can go.
    spool = tmp_path / "out.duckdb.spool"
    found, read = leaks(spool, [b"secret prompt", *(f"pay-{i}".encode() for i in range(20))])
    assert found == []
    assert "recent" in read
    uri = f"duckdb:///{database}"
    removed = result("forget", "first-007", "--output", uri, home=tmp_path / "home")["removed"]
    assert removed[uri]["session_scores"] > 0
    assert removed[str(spool)]["files of recent items"] > 0
    assert not list(spool.glob("bundles/recent/*"))
    assert leaks(tmp_path, [b"first-007"])[0] == []
