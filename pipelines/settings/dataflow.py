"""A run on Google Cloud Dataflow."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field, field_validator

from pipelines.settings.base import MINUTE, SECOND, Duration, Section

PROJECT = r"[a-z][a-z0-9-]{4,28}[a-z0-9]"
REGION = r"[a-z]+-[a-z]+[0-9]{1,2}"
FOLDER = r"gs://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](/[^\s\[\]*?#]*)?"
IMAGE = (
    r"[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9._-]+)+"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
ACCOUNT = r"[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com"
SUBNETWORK = (
    r"(https://www\.googleapis\.com/compute/v1/projects/[a-z0-9-]+/)?"
    r"regions/[a-z0-9-]+/subnetworks/[a-z0-9-]+"
)
MACHINE = r"[a-z][a-z0-9]*-[a-z0-9-]+"
SECRET = r"projects/[a-z0-9-]+/secrets/[A-Za-z0-9_-]{1,255}/versions/[1-9][0-9]*"
VARIABLE = r"[A-Z][A-Z0-9_]{0,63}"


def _field(pattern: str, description: str) -> Any:
    return Field(None, description=description, pattern=f"^{pattern}$")


class DataflowConfig(Section):
    """A run on Google Cloud Dataflow (--runner dataflow); see docs/dataflow.md."""

    project: str | None = _field(PROJECT, "project that the job runs in")
    region: str | None = _field(REGION, "region of the workers, such as europe-west1")
    temp_location: str | None = _field(
        FOLDER,
        "folder in a bucket of that region for what is passing; bundles and staging are beside it",
    )
    image: str | None = _field(
        IMAGE, "image of infra/dataflow/Dockerfile, which launcher and workers run"
    )
    service_account: str | None = _field(ACCOUNT, "account of the workers")
    subnetwork: str | None = _field(
        SUBNETWORK, "subnetwork of the workers, as regions/REGION/subnetworks/NAME"
    )
    machine_type: str = Field(
        "n2-standard-4",
        description="kind of the workers; each core runs one process with a bundle of its own",
        pattern=f"^{MACHINE}$",
    )
    workers: int = Field(1, description="workers to begin with", ge=1, le=1000)
    max_workers: int = Field(4, description="workers at most", ge=1, le=1000)
    read_for: Duration = Field(
        5 * SECOND,
        description="how long the reader of an endless topic reads before it hands over what it "
        "has",
        ge=SECOND,
        le=5 * MINUTE,
    )
    secrets: dict[str, str] = Field(
        default_factory=dict,
        description="versions in Secret Manager, by the environment variable that every worker "
        "gets with its value, as NAME: projects/P/secrets/S/versions/1",
    )

    @field_validator("secrets")
    @classmethod
    def _secrets(cls, secrets: dict[str, str]) -> dict[str, str]:
        for name, version in secrets.items():
            if not re.fullmatch(VARIABLE, name):
                raise ValueError(f"{name} is no name of a variable: write capitals, digits and _")
            if not re.fullmatch(SECRET, version):
                # A number, not `latest`: two workers must not have two keys.
                raise ValueError(
                    f"of {name} is no numbered version: write projects/P/secrets/S/versions/1"
                )
        return secrets
