"""What a job on Dataflow needs, looked at before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from pipelines.config import Config
from schemas.errors import DistilwatchError, not_installed

_PLACES = {
    "project": "the project that it runs in",
    "region": "a region, such as europe-west1",
    "temp_location": "a folder in a bucket of that region, gs://bucket/folder",
    "image": "the image of infra/dataflow/Dockerfile",
}


def check_libraries() -> None:
    """Raises DistilwatchError when Google's libraries are not installed."""
    for name in ("google.cloud.dataflow_v1beta3", "google.cloud.secretmanager"):
        try:
            there = find_spec(name) is not None
        except ModuleNotFoundError:
            there = False
        if not there:
            raise not_installed("--runner dataflow", "gcp", name)


def check_places(config: Config, beam_args: Sequence[str]) -> None:
    """Raises DistilwatchError when project, region, bucket or image is named nowhere."""
    given = {a.lstrip("-").partition("=")[0] for a in beam_args if a.startswith("--")}
    given |= {"image"} if "sdk_container_image" in given else set()
    missing = [n for n in _PLACES if getattr(config.dataflow, n) is None and n not in given]
    if missing:
        listed = "; ".join(f"dataflow.{n}, {_PLACES[n]}" for n in missing)
        raise DistilwatchError(
            "a job on Dataflow needs more settings", listed, "add them to the file of --config"
        )


def check_job(
    config: Config, inputs: Sequence[str], outputs: Sequence[str], in_image: bool = False
) -> None:
    """Raises DistilwatchError when workers could not read, write, or keep a secret.

    Args:
      config: settings.
      inputs, outputs: URIs.
      in_image: whether this process has the files that workers have.
    """
    for uri in inputs:
        if not uri.startswith(("kafka://", "bigquery://")):
            raise DistilwatchError(
                "workers on Dataflow do not have this file",
                f"--input {uri}",
                "give kafka://host:port/topic or bigquery://project/dataset/table",
            )
    if len(outputs) != 1 or not outputs[0].startswith("bigquery://"):
        raise DistilwatchError(
            "workers on Dataflow share no folder, so they write into BigQuery alone",
            f"--output {' '.join(outputs)}",
            "give one output, bigquery://project/dataset",
        )
    check_files(config, inputs, in_image)
    ingest, secrets = config.ingest, config.dataflow.secrets
    needed = {
        "ingest.hmac_key_env": ingest.hmac_key_env,
        "ingest.dead_letter_key_env": ingest.dead_letter_key_env,
        "ingest.registry.password_env": ingest.registry.password_env,
        "ingest.registry.token_env": ingest.registry.token_env,
    }
    for setting, variable in needed.items():
        if variable is not None and variable not in secrets:
            raise DistilwatchError(
                f"workers would not have {variable}",
                f"dataflow.secrets, {setting}",
                f"add {variable}: projects/P/secrets/S/versions/1; docs/dataflow.md says how to "
                "make a secret",
            )


def check_files(config: Config, inputs: Sequence[str], in_image: bool) -> None:
    """Raises DistilwatchError for files that workers would look for at every record, for ever.

    Of the command's machine nobody can tell whether the image has a file, too. Certificates may be
    in it; what changes with the day is not.
    """
    ingest = config.ingest
    changing: dict[str, Sequence[str | None]] = {
        "watch.list": [config.watch.list],
        "ingest.known_texts": ingest.known_texts,
    }
    certificates: dict[str, Sequence[str | None]] = {
        "ingest.registry.ca_file": [ingest.registry.ca_file]
    }
    for uri in inputs:
        if uri.startswith("kafka://"):
            asked = parse_qs(urlsplit(uri).query)
            certificates |= {f"--input …{k}=": v for k, v in asked.items() if k.endswith("file")}
    for setting, paths in (changing | certificates if in_image else changing).items():
        for path in paths:
            if path is not None and not (in_image and Path(path).is_file()):
                raise DistilwatchError(
                    "workers on Dataflow do not have this file",
                    f"{setting} {path}",
                    "leave it out; or make an image that has it, and start that by the template",
                )


def check_command(
    config: Config | None,
    inputs: Sequence[str],
    outputs: Sequence[str],
    for_ms: int | None,
    beam_args: Sequence[str],
) -> None:
    """All of it, for the command.

    Raises:
      DistilwatchError: something is missing, or is of another runner.
    """
    check_libraries()
    if for_ms is not None:
        raise DistilwatchError(
            "a job on Dataflow goes on until it is drained", "--for", "leave it out"
        )
    if config is not None:
        check_places(config, beam_args)
        check_job(config, inputs, outputs)
