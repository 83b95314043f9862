"""The manifests of infra/flink, held against the schema that Flink's operator publishes."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from infra.local.flink_cluster import flink_libs
from infra.local.services import ServiceError
from pipelines.flink.retained import retains_too_few
from pipelines.settings import Config
from transforms.sinks.parquet import parquet_folder

FOLDER = Path(__file__).resolve().parents[2] / "infra" / "flink"
GROUP = "flink.apache.org/"


def documents(name: str) -> list[dict[str, Any]]:
    """All manifests of a file."""
    return [d for d in yaml.safe_load_all((FOLDER / name).read_text()) if d]


def closed(schema: Any) -> Any:
    """A schema that also refuses fields which it does not know, as strict validation does."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and not open_ended:
        made["properties"] = {k: closed(v) for k, v in schema["properties"].items()}
        made.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return made


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    """Schemas of the operator's own kinds, by kind, out of its published artefact."""
    try:
        jars = list(flink_libs().glob("flink-kubernetes-operator-api-*.jar"))
    except ServiceError as missing:
        pytest.skip(str(missing))
    found = {}
    with zipfile.ZipFile(jars[0]) as jar:
        for name in jar.namelist():
            if re.fullmatch(r"META-INF/fabric8/\w+\.flink\.apache\.org-v1\.yml", name):
                definition = yaml.safe_load(jar.read(name))["spec"]
                schema = closed(definition["versions"][0]["schema"]["openAPIV3Schema"])
                schema["properties"] |= {
                    "apiVersion": {"const": GROUP + definition["versions"][0]["name"]},
                    "kind": {"const": definition["names"]["kind"]},
                    "metadata": {"type": "object", "required": ["name"]},
                }
                found[definition["names"]["kind"]] = schema
    return found


def test_the_cluster_retains_what_its_checkpoints_refer_to() -> None:
    [cluster] = documents("session.yaml")
    configuration = cluster["spec"]["flinkConfiguration"]
    assert configuration["state.backend.incremental"] == "true"
    assert retains_too_few(configuration) is None
    # The job brings these along, and the cluster's count for nothing.
    assert not [name for name in configuration if name.startswith("execution.checkpointing.")]


def test_manifests_fit_the_operators_schema(published: dict[str, Any]) -> None:
    [cluster] = documents("session.yaml")
    jsonschema.validate(cluster, published[cluster["kind"]])
    # The schema is strict enough to find what people get wrong.
    for wrong in (
        {"flinkVersion": "v9_9"},
        {"flinkConfiguration": {"taskmanager.numberOfTaskSlots": 1}},
        {"taskmanager": {}},
        {"jobManager": {"resource": {"memory": 2048}}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(
                cluster | {"spec": cluster["spec"] | wrong}, published[cluster["kind"]]
            )


def test_the_command_and_the_cluster_speak_of_the_same_places() -> None:
    [cluster] = documents("session.yaml")
    rest = {d["kind"]: d for d in documents("detect.yaml")}
    settings = Config(**yaml.safe_load(rest["ConfigMap"]["data"]["settings.yaml"]))
    spec = cluster["spec"]
    assert settings.flink.master == f"{cluster['metadata']['name']}-rest:8081"
    assert settings.flink.savepoints == spec["flinkConfiguration"]["state.savepoints.dir"]
    pod = spec["taskManager"]["podTemplate"]["spec"]
    workers = next(c for c in pod["containers"] if c["name"] == "workers")
    assert workers["args"] == [f"--port={settings.flink.workers.rpartition(':')[2]}"]
    command = rest["Deployment"]["spec"]["template"]["spec"]
    claims = {d["metadata"]["name"] for d in documents("detect.yaml")
              if d["kind"] == "PersistentVolumeClaim"}  # fmt: skip
    for where in (pod, command):
        used = {v["persistentVolumeClaim"]["claimName"] for v in where["volumes"]
                if "persistentVolumeClaim" in v}  # fmt: skip
        assert used <= claims
    mounted = [{m["name"]: m["mountPath"] for m in c["volumeMounts"]}
               for c in (workers, command["containers"][0])]  # fmt: skip
    assert mounted[0]["spool"] == mounted[1]["spool"] == settings.flink.spool
    assert mounted[0]["bundle"] == mounted[1]["bundle"]
    # What must be there when the pod is gone is on a volume of its own.
    [detect] = command["containers"]
    claimed = {v["name"] for v in command["volumes"] if "persistentVolumeClaim" in v}
    lasting = [m["mountPath"] for m in detect["volumeMounts"] if m["name"] in claimed]
    home = next(e["value"] for e in detect["env"] if e["name"] == "DISTILWATCH_HOME")
    [output] = [a.partition("=")[2] for a in detect["args"] if a.startswith("--output=parquet:")]
    for path in (Path(home), parquet_folder(output)):
        assert any(path.is_relative_to(there) for there in lasting), path
    # The pod may be moved: the job is left to the cluster, and workers have what the command has.
    assert settings.run.on_stop == "leave"
    assert workers["envFrom"] == detect["envFrom"]
    flink = next(c for c in pod["containers"] if c["name"] == "flink-main-container")
    rocksdb = spec["flinkConfiguration"]["state.backend.rocksdb.localdir"]
    [disk] = [m["name"] for m in flink["volumeMounts"] if m["mountPath"] == rocksdb]
    assert any(v["name"] == disk and "ephemeral" in v for v in pod["volumes"])
    slots = int(spec["flinkConfiguration"]["taskmanager.numberOfTaskSlots"])
    assert settings.flink.parallelism <= slots * spec["taskManager"]["replicas"]
    images = {c["image"] for c in (workers, command["containers"][0])} | {spec["image"]}
    assert len(images) == 1


def test_the_image_has_the_flink_of_the_job_server() -> None:
    pom = (FOLDER.parent / "local" / "flink" / "pom.xml").read_text()
    version = re.search(r"beam-runners-flink-([0-9.]+)<", pom)
    dockerfile = (FOLDER / "Dockerfile").read_text()
    assert version
    assert f"ARG FLINK={version[1]}\n" in dockerfile
    [cluster] = documents("session.yaml")
    assert cluster["spec"]["flinkVersion"] == f"v{version[1].replace('.', '_')}"
    from apache_beam.version import __version__ as beam

    assert f"ARG BEAM={beam}\n" in dockerfile
    # What the image copies is there.
    for line in dockerfile.splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for name in line.split()[1:-1]:
                assert (FOLDER.parents[1] / name).exists(), name
