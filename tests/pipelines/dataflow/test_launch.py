"""Parameters, secrets and bundles of a job on Dataflow; without a cloud."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import GoogleCloudOptions

from pipelines import cli
from pipelines.config import load_config
from pipelines.dataflow import checks, secrets
from pipelines.dataflow.bundles import BucketBundle, download, upload
from pipelines.dataflow.launch import options_of, settings_of
from pipelines.dataflow.options import dataflow_options
from pipelines.dataflow.parameters import ELSEWHERE, METADATA, PARAMETERS, metadata, split
from pipelines.dataflow.parameters import _options as options_of_the_command
from pipelines.detect.plan import _run_id
from pipelines.parts import forgotten_file
from pipelines.settings.dataflow import DataflowConfig
from schemas.errors import DistilwatchError
from tests.support.sketches import small_bundle, verified
from transforms.ingest.forgotten import Forgotten, note
from transforms.ingest.pseudonyms import Pseudonymiser
from transforms.ingest.sealing import LetterKeys, letter_keys
from transforms.scoring.bundle import save_bundle

VERSION = "projects/example-project/secrets/hmac/versions/3"
GOOD = {
    "inputs": "kafka://b1:9092,b2:9092/requests?bounded=false;bigquery://my-project/d/events",
    "bundle": "gs://my-bucket/bundles/0",
    "output": "bigquery://my-project/distilwatch",
    "config": "gs://my-bucket/settings.yaml",
    "secrets": f"DISTILWATCH_HMAC_KEY={VERSION};LETTERS={VERSION}",
    "run_id": "main",
    "from_time": "2026-06-01",
    "to_time": "2026-06-08T12:00:00Z",
}
BAD = {
    "inputs": ["live.jsonl", "kafka://broker/requests", "kafka://b:9092/t;live.jsonl"],
    "bundle": ["bundle", "gs://", "gs://my-bucket/a b"],
    "output": ["duckdb:///out.duckdb", "bigquery://my-project"],
    "config": ["settings.yaml", "gs://my-bucket/settings.json"],
    "secrets": ["DISTILWATCH_HMAC_KEY=hunter2", f"K={VERSION.replace('/3', '/latest')}"],
    "run_id": ["-main", "x" * 65],
    "from_time": ["yesterday"],
    "to_time": ["2026-6-1"],
}
ADDED = ["--runner=DataflowRunner", "--project=my-project", "--region=europe-west1"]


def arguments(**changes: str | None) -> list[str]:
    values = GOOD | changes
    return [f"--{name}={value}" for name, value in values.items() if value is not None] + ADDED


# --- parameters -----------------------------------------------------------------------------------


def test_metadata_is_what_the_parameters_make() -> None:
    written = json.loads(METADATA.read_text(encoding="utf-8"))
    assert written == metadata(), "run python -m pipelines.dataflow.parameters"


def test_metadata_is_what_googles_own_type_takes() -> None:
    from google.cloud.dataflow_v1beta3.types import TemplateMetadata

    read = TemplateMetadata.from_json(METADATA.read_text(encoding="utf-8"))
    assert [p.name for p in read.parameters] == [p.name for p in PARAMETERS]
    for p in read.parameters:
        assert p.label
        assert len(p.help_text) > 20
        assert len(p.regexes) == 1
        assert p.param_type != 0


def test_every_option_of_the_command_is_a_parameter_or_is_left_out_for_a_reason() -> None:
    named = {p.option for p in PARAMETERS if p.option}
    assert not named & set(ELSEWHERE)
    assert named | set(ELSEWHERE) == {o.opts[0] for o in options_of_the_command()}


def test_every_parameter_has_a_pattern_that_takes_and_refuses() -> None:
    assert set(GOOD) == set(BAD) == {p.name for p in PARAMETERS}
    given = split(arguments())
    assert given.values == GOOD
    assert given.beam_args == ADDED
    for name, values in BAD.items():
        for value in values:
            with pytest.raises(DistilwatchError, match=f"{name} cannot be"):
                split(arguments(**{name: value}))


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(DistilwatchError) as told:
        split(arguments(inputs=None, output="out", run_id="-"))
    assert all(word in str(told.value) for word in ("inputs is missing", "output cannot", "run_id"))


def test_parameters_become_options_and_settings(tmp_path: Path) -> None:
    settings = tmp_path / "in.yaml"
    settings.write_text("sessions: {gap: 10 min}\ningest: {dead_letter_key_env: LETTERS}\n")
    given = split(arguments())
    given.values["config"] = str(settings)  # Beam reads a bucket's file in the same way
    config = settings_of(given, tmp_path)
    assert config.sessions.gap_ms == 600_000
    assert config.dataflow.secrets == {"DISTILWATCH_HMAC_KEY": VERSION, "LETTERS": VERSION}
    options = options_of(given, config, tmp_path / "bundle")
    assert options.inputs == GOOD["inputs"].split(";")
    assert options.outputs == [GOOD["output"]]
    assert (options.runner, options.run_id, options.beam_args) == ("dataflow", "main", ADDED)
    assert options.from_ms == 1_780_272_000_000
    checks.check_job(config, options.inputs, options.outputs)


def test_the_template_says_what_is_wrong_in_one_message(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "infra/dataflow/launch.py", "--inputs=live.jsonl"],
        capture_output=True, text=True, check=False, cwd=Path(__file__).resolve().parents[3],
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    assert done.returncode == 2
    assert "inputs cannot be 'live.jsonl'" in done.stderr
    assert "bundle is missing" in done.stderr
    assert "Traceback" not in done.stderr


# --- preflight ------------------------------------------------------------------------------------


def command(capsys: pytest.CaptureFixture[str], *more: str) -> str:
    code = cli.run(["detect", "--bundle", "none", "--runner", "dataflow", "--json", *more])
    assert code == 2
    return str(json.loads(capsys.readouterr().out)["error"]["message"])


def test_the_command_names_all_that_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = "kafka://127.0.0.1:9/requests?bounded=false"
    said = command(capsys, "--input", topic, "--output", f"duckdb:///{tmp_path}/x.duckdb")
    for name in ("project", "region", "temp_location", "image"):
        assert f"dataflow.{name}" in said
    assert "127.0.0.1:9" not in said  # the broker is for workers to reach
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        "dataflow: {project: my-project, region: europe-west1, temp_location: 'gs://bucket/tmp', "
        "image: 'europe-docker.pkg.dev/p/r/detect:1'}\n"
    )
    more = ("--input", topic, "--output", f"duckdb:///{tmp_path}/x.duckdb")
    assert "write into BigQuery alone" in command(capsys, *more, "--config", str(settings))
    more = (*more, "--config", str(settings), "--for", "1 min")
    assert "goes on until it is drained" in command(capsys, *more)


def test_a_file_and_a_key_that_workers_would_not_have_are_refused() -> None:
    config = load_config(None)
    out = ["bigquery://my-project/distilwatch"]
    with pytest.raises(DistilwatchError, match="do not have this file"):
        checks.check_job(config, ["live.jsonl"], out)
    with pytest.raises(DistilwatchError, match="workers would not have DISTILWATCH_HMAC_KEY"):
        checks.check_job(config, ["kafka://b:9092/t"], out)


def test_files_that_the_image_does_not_have_are_refused(tmp_path: Path) -> None:
    topic = ["kafka://b:9092/t?security_protocol=SSL&ssl_cafile=/etc/ssl/broker.pem"]
    out = ["bigquery://my-project/distilwatch"]
    secrets = {"dataflow.secrets": {"DISTILWATCH_HMAC_KEY": VERSION}}
    plain = load_config(None, secrets)
    checks.check_job(plain, topic, out)  # nobody knows here what the image has
    with pytest.raises(DistilwatchError, match="do not have this file") as caught:
        checks.check_job(plain, topic, out, in_image=True)
    assert "ssl_cafile" in caught.value.where
    there = tmp_path / "there"
    there.touch()
    listed = load_config(None, secrets | {"watch.list": str(there)})
    with pytest.raises(DistilwatchError, match="do not have this file"):
        checks.check_job(listed, ["kafka://b:9092/t"], out)
    checks.check_job(listed, ["kafka://b:9092/t"], out, in_image=True)


def test_the_list_of_forgotten_accounts_comes_from_the_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, here = tmp_path / "bucket", tmp_path / "here"
    bucket.mkdir()
    here.mkdir()
    settings = bucket / "settings.yaml"
    settings.write_text("ingest: {forgotten_file: 'gs://bucket/forgotten.jsonl'}\n")
    monkeypatch.setattr(
        FileSystems, "open", lambda uri: (tmp_path / uri.removeprefix("gs://")).open("rb")
    )
    given = split(arguments())
    given.values["config"] = "gs://bucket/settings.yaml"
    with pytest.raises(DistilwatchError, match="forgotten accounts cannot be read"):
        settings_of(given, here)
    note(bucket / "forgotten.jsonl", b"k" * 32, "a", "me", {})
    listed = forgotten_file(settings_of(given, here))
    assert "a" in Forgotten.open(listed, b"k" * 32)
    # A copy each time, and the same run.
    other = tmp_path / "other"
    other.mkdir()
    names = []
    for folder in (here, other):
        config = settings_of(given, folder)
        names.append(_run_id(options_of(given, config, tmp_path / "bundle"), "b-1", []))
    assert names[0] == names[1]
    with pytest.raises(DistilwatchError, match="by the template of Dataflow only"):
        forgotten_file(load_config(settings))


def test_what_lasts_is_not_in_the_folder_that_is_emptied() -> None:
    config = DataflowConfig(temp_location="gs://bucket/tmp")
    cloud = dataflow_options(config, "main", True).view_as(GoogleCloudOptions)
    assert (cloud.temp_location, cloud.staging_location) == (
        "gs://bucket/tmp",
        "gs://bucket/staging",
    )
    other = dataflow_options(config, "main", True, ["--staging_location=gs://other/x"])
    assert other.view_as(GoogleCloudOptions).staging_location == "gs://other/x"


def test_missing_libraries_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud", None)
    monkeypatch.setattr(checks, "find_spec", lambda _: None)
    with pytest.raises(DistilwatchError, match=r"\.\[gcp\]"):
        checks.check_libraries()


@pytest.mark.parametrize(
    ("name", "value"),
    [("project", "My Project"), ("region", "Europe"), ("temp_location", "bucket"), ("image", "x")],
)
def test_settings_have_the_form_that_google_wants(name: str, value: str) -> None:
    with pytest.raises(DistilwatchError, match=f"dataflow.{name}"):
        load_config(None, {f"dataflow.{name}": value})


def test_a_secret_is_a_numbered_version() -> None:
    latest = {"DISTILWATCH_HMAC_KEY": VERSION.replace("/3", "/latest")}
    with pytest.raises(DistilwatchError, match="numbered version"):
        load_config(None, {"dataflow.secrets": latest})


# --- secrets --------------------------------------------------------------------------------------


def test_secrets_fill_the_environment_and_what_is_set_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("A_KEY", raising=False)
    monkeypatch.setenv("B_KEY", "mine")
    asked = []

    def get(version: str) -> str:
        asked.append(version)
        return f"value of {version}"

    monkeypatch.setattr(os, "environ", dict(os.environ))
    secrets.into_environment({"A_KEY": "v1", "B_KEY": "v2"}, get)
    assert (os.environ["A_KEY"], os.environ["B_KEY"], asked) == ("value of v1", "mine", ["v1"])


def test_a_worker_fetches_its_secrets_when_beam_starts_it(tmp_path: Path) -> None:
    """Beam's own start of a worker, up to where it would talk to its runner."""
    from pipelines.dataflow.options import dataflow_options

    config = load_config(None, {"dataflow.secrets": {"DISTILWATCH_HMAC_KEY": VERSION}})
    options = dataflow_options(config.dataflow, "main", True).get_all_options(drop_default=True)
    script = (
        "import os\n"
        "from google.cloud import secretmanager\n"
        "class Client:\n"
        "    def access_secret_version(self, name, timeout):\n"
        "        data = ('key of ' + name + chr(10)).encode()  # as a shell's pipe leaves it\n"
        "        return type('A', (), {'payload': type('P', (), {'data': data})})\n"
        "secretmanager.SecretManagerServiceClient = Client\n"
        "from apache_beam.runners.worker.sdk_worker_main import create_harness\n"
        "create_harness(dict(os.environ), dry_run=True)\n"
        "print(repr(os.environ['DISTILWATCH_HMAC_KEY']))\n"
    )
    portable = {f"beam:option:{name}:v1": value for name, value in options.items()}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True, text=True, check=False, cwd=Path(__file__).resolve().parents[3],
        env={k: v for k, v in os.environ.items() if k != "DISTILWATCH_HMAC_KEY"}
        | {
            "PIPELINE_OPTIONS": json.dumps(portable),
            "CONTROL_API_SERVICE_DESCRIPTOR": "url: 'localhost:1'",
        },
    )  # fmt: skip
    assert done.stdout.strip() == repr(f"key of {VERSION}"), done.stderr


def test_keys_travel_by_name_only_where_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    key = b"sixteen bytes and some more"
    assert key in pickle.dumps(Pseudonymiser(key))
    monkeypatch.setenv("A_KEY", key.decode())
    packed = pickle.dumps(Pseudonymiser(key, "A_KEY"))
    assert key not in packed
    assert pickle.loads(packed)("card") == Pseudonymiser(key)("card")
    monkeypatch.delenv("A_KEY")
    with pytest.raises(DistilwatchError, match=r"dataflow\.secrets"):
        pickle.loads(packed)


def test_keys_of_letters_travel_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETTERS", "bGV0dGVyLWtleS1sZXR0ZXIta2V5LWxldHRlci1rZXk=")
    keys = letter_keys("LETTERS", by_name=True)
    assert keys is not None
    packed = pickle.dumps(keys)
    assert b"letter-key" not in packed
    place = ("topic", 0, 1)
    read: LetterKeys = pickle.loads(packed)
    assert read.open(keys.seal(b"raw", place), place) == b"raw"


# --- bundles --------------------------------------------------------------------------------------


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    save_bundle(small_bundle(), tmp_path / "bundle")
    return tmp_path / "bundle"


def test_a_bundle_goes_to_the_bucket_once_and_comes_back_the_same(bundle: Path) -> None:
    bucket = bundle.parent / "bucket"  # Beam reaches a real one in the same way
    where = upload(bundle, str(bucket))
    stamps = {path: path.stat().st_mtime_ns for path in Path(where).iterdir()}
    assert upload(bundle, str(bucket)) == where
    assert {path: path.stat().st_mtime_ns for path in Path(where).iterdir()} == stamps
    known = verified(bundle)
    far = pickle.loads(pickle.dumps(BucketBundle(where, known.manifest_sha256)))
    assert far.load().version == known.load().version
    shutil.rmtree(where)
    far.load()  # this machine has it


def test_a_bundle_that_somebody_replaced_in_the_bucket_is_refused(bundle: Path) -> None:
    where = Path(upload(bundle, str(bundle.parent / "bucket")))
    manifest = where / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")
    with pytest.raises(DistilwatchError, match="replaced"):
        BucketBundle(str(where), verified(bundle).manifest_sha256).load()


def test_a_bucket_without_a_bundle_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DistilwatchError, match=r"manifest.json"):
        download(str(tmp_path / "empty"), tmp_path / "here")
    assert not (tmp_path / "here").exists()
