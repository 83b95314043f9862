"""Secrets of Secret Manager into the environment, of the launcher and of every worker.

Dataflow's workers cannot be given environment variables, and a secret that is an option of a job
can be read by whoever may see the job. So a job names versions of secrets, and each worker process
fetches them when it starts: Beam imports this module there before anything of the job is unpickled
(`--beam_plugins`), with the job's options at hand.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.options.value_provider import RuntimeValueProvider

from schemas.errors import DistilwatchError, not_installed

OPTION = "distilwatch_secrets"
MODULE = __name__


class SecretOptions(PipelineOptions):  # type: ignore[misc]
    """Names of secrets, which travel with a job."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            f"--{OPTION}",
            action="append",
            help="VARIABLE=projects/P/secrets/S/versions/N, for workers; may be repeated",
        )


def as_arguments(secrets: Mapping[str, str]) -> list[str]:
    """Options of a job that has these secrets."""
    return [f"--{OPTION}={name}={version}" for name, version in sorted(secrets.items())]


def from_options(values: Sequence[str] | None) -> dict[str, str]:
    """Versions by variable."""
    return dict(value.split("=", 1) for value in values or ())


def fetch(version: str) -> str:
    """The value of a secret's version, without the line's end that a shell leaves at it.

    Raises:
      DistilwatchError: it cannot be had.
    """
    try:
        from google.cloud import secretmanager
    except ImportError as missing:
        raise not_installed("dataflow.secrets", "gcp", str(missing.name)) from missing
    try:
        client = secretmanager.SecretManagerServiceClient()
        answer = client.access_secret_version(name=version, timeout=60)
        return str(answer.payload.data.decode()).rstrip("\r\n")
    except Exception as error:
        raise DistilwatchError(
            f"the secret cannot be read ({type(error).__name__})",
            version,
            "check its name, and give the account roles/secretmanager.secretAccessor on it",
        ) from None  # which might quote what it got


def into_environment(secrets: Mapping[str, str], get: Callable[[str], str] = fetch) -> None:
    """Sets variables that are not set yet.

    Args:
      secrets: versions by variable.
      get: fetches a version's value.

    Raises:
      DistilwatchError: a secret cannot be had; none is set then.
    """
    values = {n: get(version) for n, version in secrets.items() if not os.environ.get(n)}
    os.environ.update(values)


def _on_a_worker() -> None:
    options = RuntimeValueProvider.runtime_options  # None where nothing runs
    if options:
        into_environment(from_options(options.get(OPTION)))


_on_a_worker()
