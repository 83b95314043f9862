"""Parameters of the Flex Template: each said once, here, and checked before anything starts.

    python -m pipelines.dataflow.parameters    # writes infra/dataflow/metadata.json

What Dataflow sets by its own arguments (workers, network, account, image) is no parameter of ours.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import click

from pipelines.settings.dataflow import FOLDER, SECRET, VARIABLE
from schemas.errors import DistilwatchError

METADATA = Path(__file__).resolve().parents[2] / "infra" / "dataflow" / "metadata.json"
_NAME = r"[A-Za-z0-9._-]{1,249}"
_HOST = r"[A-Za-z0-9.-]+:[0-9]{1,5}"
_PROJECT = r"[a-z][a-z0-9.:-]{4,60}[a-z0-9]"
_DATASET = r"[A-Za-z0-9_]{1,1024}"
_QUERY = r"(\?[^\s;]+)?"
_EVENTS = (
    rf"(kafka://{_HOST}(,{_HOST})*/{_NAME}{_QUERY}"
    rf"|bigquery://{_PROJECT}/{_DATASET}/[^\s/?;]{{1,1024}}{_QUERY})"
)
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?)?"
# Where the console draws a line between several, so that an address may have commas.
BETWEEN = ";"


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes:
      name: in the template.
      option: of `distilwatch detect` that it stands for; None: it has none.
      label: in the console.
      more: help, after that of the option.
      instead: whether `more` stands instead of the option's help, because less is possible here.
      pattern: regular expression of one value, to be matched as a whole.
      kind: Google's type of the parameter.
      optional: whether it may be left out.
      several: whether there may be several values.
    """

    name: str
    option: str | None
    label: str
    more: str
    pattern: str
    kind: str = "TEXT"
    optional: bool = False
    several: bool = False
    instead: bool = False

    @property
    def regex(self) -> str:
        """Of the whole value."""
        one = self.pattern
        return f"^{one}({BETWEEN}{one})*$" if self.several else f"^{one}$"

    @property
    def help(self) -> str:
        """What it means: the words of the command's option, and what is different here."""
        said = _help_of(self.option) if self.option and not self.instead else ""
        between = f" Several are divided by {BETWEEN}" if self.several else ""
        return " ".join(f"{said} {self.more}".split()) + between


PARAMETERS = (
    Parameter(
        "inputs", "--input", "Events",
        "Where events are: kafka://host:port/topic, with ?bounded=false for a streaming job, or "
        "bigquery://project/dataset/table. Files are read by other runners only.",
        _EVENTS, several=True, instead=True,
    ),
    Parameter(
        "bundle", "--bundle", "Bundle",
        "Its folder in a bucket, gs://bucket/folder. It must be signed by a key that the "
        "image trusts.",
        FOLDER, "GCS_READ_FOLDER",
    ),
    Parameter(
        "output", "--output", "Dataset",
        "bigquery://project/dataset, where workers write all tables.",
        rf"bigquery://{_PROJECT}/{_DATASET}", instead=True,
    ),
    Parameter(
        "config", "--config", "Settings",
        "Settings in YAML, gs://bucket/settings.yaml; defaults without.",
        r"gs://[^\s\[\]*?#]+\.ya?ml", "GCS_READ_FILE", optional=True, instead=True,
    ),
    Parameter(
        "secrets", None, "Secrets",
        "Versions in Secret Manager by the environment variable that gets their value, as "
        "DISTILWATCH_HMAC_KEY=projects/P/secrets/S/versions/1; the settings' dataflow.secrets "
        "without. The key of payment fingerprints must be among them.",
        rf"{VARIABLE}={SECRET}", optional=True, several=True,
    ),
    Parameter(
        "run_id", "--run-id", "Name of the run",
        "It names the job, too.", r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", optional=True,
    ),
    Parameter("from_time", "--from", "From", "Of a bounded job only.", _TIME, optional=True),
    Parameter("to_time", "--to", "To", "Of a bounded job only.", _TIME, optional=True),
)  # fmt: skip
# What the command has beside these, and why the template has not.
ELSEWHERE = {
    "--runner": "it is Dataflow",
    "--flink-master": "of Flink",
    "--from-savepoint": "of Flink; a job on Dataflow is updated",
    "--for": "a job runs until it is drained",
    "--send-alerts": "workers send no alerts",
    "--input-format": "the settings have it, as ingest.format",
    "--dry-run": "before there is a job, on one's own machine",
    "--json": "nobody reads a launcher's output",
}


def _help_of(option: str) -> str:
    return next(str(o.help) for o in _options() if option in o.opts)


def _options() -> list[click.Option]:
    from pipelines.commands.detect import detect

    return [o for o in detect.params if isinstance(o, click.Option)]


def metadata() -> dict[str, Any]:
    """The template's metadata, as Google's TemplateMetadata has it."""
    return {
        "name": "distilwatch detect",
        "description": "Finds adversarial distillation of language models in request events: reads "
        "Kafka or BigQuery, scores sessions and accounts with a bundle, links accounts, and writes "
        "flagged clusters into BigQuery. A topic with ?bounded=false makes a streaming job.",
        "streaming": True,
        "supportsAtLeastOnce": False,
        "supportsExactlyOnce": True,
        "defaultStreamingMode": "EXACTLY_ONCE",
        "parameters": [
            {
                "name": p.name,
                "label": p.label,
                "helpText": p.help,
                "isOptional": p.optional,
                "regexes": [p.regex],
                "paramType": p.kind,
            }
            for p in PARAMETERS
        ],
    }


class Given(NamedTuple):
    """What a launcher was given: values by parameter, and Beam's own options."""

    values: dict[str, str]
    beam_args: list[str]


def split(arguments: Sequence[str]) -> Given:
    """Divides a launcher's arguments.

    Args:
      arguments: --name=value of parameters, and whatever Dataflow's launcher adds.

    Raises:
      DistilwatchError: a parameter is missing, or is not what it should be; all are told at once.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for p in PARAMETERS:
        parser.add_argument(f"--{p.name}")
    known, rest = parser.parse_known_args(list(arguments))
    values = {name: value for name, value in vars(known).items() if value}
    wrong = _mistakes(values)
    if wrong:
        listed = (
            wrong[0] if len(wrong) == 1 else "".join(f"\n{i}. {w}" for i, w in enumerate(wrong, 1))
        )
        raise DistilwatchError(
            f"the template's parameters are wrong: {listed}",
            "parameters of the Flex Template",
            "infra/dataflow/metadata.json says what each may be",
        )
    return Given(values, rest)


def _mistakes(values: Mapping[str, str]) -> list[str]:
    wrong = []
    for p in PARAMETERS:
        value = values.get(p.name)
        if value is None:
            if not p.optional:
                wrong.append(f"{p.name} is missing; {p.help}")
        elif not re.fullmatch(p.regex, value):
            wrong.append(f"{p.name} cannot be {value!r}; {p.help}")
    return wrong


def several(value: str | None) -> list[str]:
    """The values of a parameter that may have several."""
    return value.split(BETWEEN) if value else []


def main() -> int:
    """Writes the metadata."""
    METADATA.write_text(json.dumps(metadata(), indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
