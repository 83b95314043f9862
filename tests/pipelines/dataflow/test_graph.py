"""The job that Dataflow would get: sound, the same each time, and as the lockfile has it."""

from __future__ import annotations

import base64
import bz2
import copy
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2 as api

from pipelines.dataflow import graph
from pipelines.dataflow.options import dataflow_options, job_name
from pipelines.dataflow.translate import KINDS, Kind, example_plan, translated

Job = tuple[api.Pipeline, Any]


@pytest.fixture(scope="module")
def jobs() -> dict[Kind, Job]:
    """Both kinds of jobs, by Beam's own translation."""
    made = {}
    for kind in KINDS:
        with example_plan(kind) as plan:
            made[kind] = translated(plan)
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_the_job_would_be_refused(jobs: dict[Kind, Job], kind: Kind) -> None:
    proto, _ = jobs[kind]
    assert graph.problems(proto) == []
    keyed = dict(graph.keyed_inputs(proto))
    assert len(keyed) > 10  # that is, they were found
    assert any(step.startswith("Write_session_scores/Gather") for step in keyed)


@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_is_that_of_the_lockfile(jobs: dict[Kind, Job], kind: Kind) -> None:
    now = graph.graph_of(jobs[kind][0])
    changes = graph.differences(graph.locked()[kind], now)
    assert not changes, (
        "\n".join(changes)
        + "\nIf that is meant: python -m pipelines.dataflow.graph --update, and say in "
        "CHANGELOG.md what it means for jobs that run."
    )
    assert now == graph.locked()[kind]


def test_another_process_on_another_day_makes_the_same_graph(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONHASHSEED": "7", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "pipelines.dataflow.graph"],
        capture_output=True, text=True, env=environment, check=False,
        cwd=Path(__file__).resolve().parents[3],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_job_is_of_runner_v2_with_streaming_engine_only_where_it_streams(
    jobs: dict[Kind, Job],
) -> None:
    for kind, (_, job) in jobs.items():
        experiments = job.options.view_as(DebugOptions).experiments
        assert "use_runner_v2" in experiments
        assert ("enable_streaming_engine" in experiments) == (kind == "endless")
        assert job.proto.type_.name == f"JOB_TYPE_{'STREAMING' if kind == 'endless' else 'BATCH'}"
        assert job.proto.name == "distilwatch-example"


def test_workers_run_our_image_and_nothing_is_installed_on_them(jobs: dict[Kind, Job]) -> None:
    for proto, _ in jobs.values():
        environments = list(proto.components.environments.values())
        assert environments
        for environment in environments:
            payload = api.DockerPayload.FromString(environment.payload)
            assert payload.container_image.endswith("/distilwatch/detect:0")
            # Beam notes what the launcher has installed, for people to compare.
            named = [
                api.ArtifactStagingToRolePayload.FromString(d.role_payload).staged_name
                for d in environment.dependencies
            ]
            assert named == ["submission_environment_dependencies.txt"]


def test_no_secret_is_in_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    letter_key = "bGV0dGVyLWtleS1sZXR0ZXIta2V5LWxldHRlci1rZXk="
    monkeypatch.setenv("LETTERS", letter_key)
    for kind in KINDS:
        with example_plan(kind, ingest__dead_letter_key_env="LETTERS") as plan:
            whole = translated(plan)[0].SerializeToString()
            key = os.environ["DISTILWATCH_HMAC_KEY"]
        assert _inside(key.encode(), whole) == _inside(b"letter-key-letter-key", whole) == 0
        assert _inside(b"DISTILWATCH_HMAC_KEY", whole)
        assert _inside(b"LETTERS", whole)


def _inside(what: bytes, whole: bytes) -> int:
    """How often something is in a job: as it is, or in the pickled functions."""
    found = whole.count(what)
    for text in re.findall(rb"[A-Za-z0-9+/]{60,}={0,2}", whole):
        packed = base64.b64decode(text + b"=" * (-len(text) % 4))
        for unpack in (bz2.decompress, zlib.decompress, bytes):
            try:
                found += unpack(packed).count(what)
            except (OSError, ValueError, zlib.error):
                continue
    return found


# --- checks that can fail -------------------------------------------------------------------------


def made_of(build: Any) -> api.Pipeline:
    pipeline = beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"]))
    build(pipeline)
    return pipeline.to_runner_api()


def test_random_labels_and_unsettled_keys_and_merging_windows_are_found() -> None:
    def bad(pipeline: beam.Pipeline) -> None:
        # Beam takes such a key, and codes it by pickling it.
        pairs = pipeline | beam.Create([1]) | beam.Map(lambda x: ({x}, x))
        pairs |= "Windows" >> beam.WindowInto(beam.window.Sessions(5))
        _ = pairs | "Step0x7f3a9c11" >> beam.Map(lambda x: x)
        _ = pairs | "Straße" >> beam.Map(lambda x: x)
        _ = pairs | "x" * 300 >> beam.Map(lambda x: x)
        _ = pairs | "Group" >> beam.GroupByKey()

    said = "\n".join(graph.problems(made_of(bad)))
    assert "Step0x7f3a9c11: has a part that looks random" in said
    assert "Straße: has other letters" in said
    assert "letters, more than 200" in said
    assert "merge, and steps with state cannot follow" in said


def test_a_key_that_may_be_coded_in_two_ways_is_found(jobs: dict[Kind, Job]) -> None:
    proto = copy.deepcopy(jobs["endless"][0])
    step, _ = next(graph.keyed_inputs(proto))
    other = next(n for n, c in proto.components.coders.items() if "FastPrimitives" in n)
    for transform in graph.leaves(proto):
        if graph.label(transform) == step:
            collection = proto.components.pcollections[next(iter(transform.inputs.values()))]
            proto.components.coders[collection.coder_id].component_coder_ids[0] = other
    assert any(line.startswith(f"{step}: keys are coded by") for line in graph.problems(proto))


def test_a_coder_that_workers_could_not_make_is_found(jobs: dict[Kind, Job]) -> None:
    proto = copy.deepcopy(jobs["bounded"][0])
    name = next(n for n, c in proto.components.coders.items() if not c.component_coder_ids)
    proto.components.coders[name].spec.urn = "beam:coder:of_tomorrow:v1"
    assert any("workers could not make it" in line for line in graph.problems(proto))


def test_a_renamed_step_with_state_says_which_and_what_that_means() -> None:
    old = graph.locked()["endless"]
    name = "Sessions/OpenSessions"
    new = {k if k != name else "Sessions/Open": v for k, v in old.items()}
    [gone, added] = graph.differences(old, new)
    assert gone.startswith(f"{name}: the label is gone, now called Sessions/Open? It keeps state")
    assert f'--transform_name_mapping=\'{{"{name}": "Sessions/Open"}}\'' in gone
    assert "drain" in gone
    assert added.startswith("Sessions/Open: is new")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"state": {"pieces": "bag of PickleCoder"}}, "state {"),
        ({"timers": {}}, "timers {"),
        ({"out": ["VarIntCoder in global_windows default discarding"]}, "the coder or window"),
        ({"does": "transform:group_by_key"}, "was pardo, is transform:group_by_key"),
    ],
)
def test_changed_coders_and_state_say_that_the_update_is_rejected(
    change: dict[str, Any], words: str
) -> None:
    old = graph.locked()["endless"]
    step = "AddCounts/Combine"
    [line] = graph.differences(old, old | {step: old[step] | change})
    assert line.startswith(f"{step}: ")
    assert words in line
    assert "Dataflow rejects the update: drain" in line


def test_job_names_are_such_as_the_service_takes() -> None:
    for run in ("main", "Run_1.b-", "x" * 64, "run-0123456789ab"):
        name = job_name(run)
        assert name == job_name(run)
        assert len(name) <= 63
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)


def test_what_the_launcher_adds_counts_more_than_the_settings() -> None:
    with example_plan("endless") as plan:
        config = plan.config.dataflow
    options = dataflow_options(config, "main", True, ["--region=us-east1", "--num_workers=7"])
    words = options.get_all_options(drop_default=True)
    assert (words["region"], words["num_workers"]) == ("us-east1", 7)
    assert words["use_public_ips"] is False
