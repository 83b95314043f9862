"""Clusters that drop files which incremental checkpoints still refer to."""

from __future__ import annotations

import json

import pytest

from infra.local.flink_cluster import FlinkCluster
from infra.local.services import free_ports
from pipelines import cli
from pipelines.detect.on_flink import _trouble
from pipelines.flink.rest import FlinkRest
from pipelines.flink.retained import retains_too_few

ROCKSDB = {"state.backend.type": "rocksdb"}


@pytest.mark.parametrize(
    ("configuration", "too_few"),
    [
        ({}, False),
        (ROCKSDB, False),
        (ROCKSDB | {"state.backend.incremental": "false"}, False),
        (ROCKSDB | {"state.backend.incremental": "true"}, True),
        (ROCKSDB | {"execution.checkpointing.incremental": "TRUE"}, True),
        (
            {
                "state.backend": "rocksdb",
                "state.backend.incremental": "true",
                "state.checkpoints.num-retained": "2",
            },
            True,
        ),
        (
            ROCKSDB | {"state.backend.incremental": "true", "state.checkpoints.num-retained": "3"},
            False,
        ),
        (
            ROCKSDB
            | {"state.backend.incremental": "true", "execution.checkpointing.num-retained": "3"},
            False,
        ),
    ],
)
def test_a_cluster_that_retains_too_few_checkpoints(
    configuration: dict[str, str], too_few: bool
) -> None:
    assert (retains_too_few(configuration) is not None) == too_few


@pytest.mark.flink
def test_the_clusters_here_retain_enough_checkpoints(flink: FlinkCluster) -> None:
    rest = FlinkRest(flink.master)
    told = rest.configuration()
    rest.close()
    assert retains_too_few(told) is None
    assert retains_too_few(told | {"state.checkpoints.num-retained": "1"}) is not None


@pytest.mark.flink
def test_doctor_warns_of_a_cluster_that_retains_too_few(
    flink: FlinkCluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said() -> dict[str, str]:
        cli.run(["doctor", "--json", "--runner", "flink", "--flink-master", flink.master])
        found = json.loads(capsys.readouterr().out)["findings"]
        return next(one for one in found if one["name"] == "flink")

    assert said()["status"] == "ok"
    few = ROCKSDB | {"state.backend.incremental": "true", "state.checkpoints.num-retained": "1"}
    monkeypatch.setattr(FlinkRest, "configuration", lambda _: few)
    found = said()
    assert found["status"] == "warn"
    assert "1 of them" in found["said"]
    assert "state.checkpoints.num-retained" in found["mend"]


def test_a_stream_is_warned_of_it_and_goes_on_where_nobody_answers() -> None:
    class Rest(FlinkRest):
        def configuration(self) -> dict[str, str]:
            return ROCKSDB | {"state.backend.incremental": "true"}

    said = _trouble(Rest("h:1"))
    assert said is not None
    assert "state.checkpoints.num-retained" in said
    nobody = FlinkRest(f"127.0.0.1:{free_ports(1)[0]}")
    assert _trouble(nobody) is None
    nobody.close()
