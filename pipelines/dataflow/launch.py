"""What the launcher of the Flex Template runs: parameters in, a job on Dataflow out.

It runs in our image, beside the network of the broker, so it looks before it starts as the command
does: settings, inputs, bundle and dataset, and says what is wrong in one message.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from apache_beam.io.filesystems import FileSystems

from pipelines import preflight
from pipelines.config import Config, load_config
from pipelines.console import Console
from pipelines.dataflow import checks
from pipelines.dataflow.bundles import download
from pipelines.dataflow.parameters import Given, several, split
from pipelines.dataflow.secrets import from_options, into_environment
from pipelines.dataflow.submit import run_on_dataflow
from pipelines.detect.plan import DetectOptions, make_plan
from schemas.errors import DistilwatchError, plain


def settings_of(given: Given, folder: Path) -> Config:
    """The settings of the file in the bucket, with the secrets of the parameter.

    Raises:
      DistilwatchError: it cannot be read, or says something wrong.
    """
    uri = given.values.get("config")
    path = None
    if uri is not None:
        path = folder / "settings.yaml"
        _copy(uri, path, "the settings", uri, "")
    config = _with_forgotten(load_config(path), folder)
    if secrets := from_options(several(given.values.get("secrets"))):
        dataflow = config.dataflow.model_copy(update={"secrets": secrets})
        config = config.model_copy(update={"dataflow": dataflow})
    return config


def _copy(uri: str, here: Path, what: str, where: str, more: str) -> None:
    """Fetches a file from a bucket.

    Raises:
      DistilwatchError: it cannot be read; `what`, `where` and `more` are for the message.
    """
    try:
        with FileSystems.open(uri) as file:
            here.write_bytes(file.read())
    except Exception as error:
        raise DistilwatchError(
            f"{what} cannot be read ({error})", where, f"check its name, and who may read it{more}"
        ) from None


def _with_forgotten(config: Config, folder: Path) -> Config:
    """Settings whose list of forgotten accounts is on this machine; it travels with the job."""
    uri = config.ingest.forgotten_file
    if uri is None or "://" not in uri:
        return config
    here = folder / "forgotten.jsonl"
    _copy(
        uri,
        here,
        "the list of forgotten accounts",
        f"ingest.forgotten_file {uri}",
        "; where nobody was to be forgotten yet, put an empty file there",
    )
    ingest = config.ingest.model_copy(update={"forgotten_file": str(here)})
    return config.model_copy(update={"ingest": ingest})


def options_of(given: Given, config: Config, bundle: Path) -> DetectOptions:
    """What the parameters ask for.

    Args:
      given: they.
      config: settings.
      bundle: where its copy is.
    """
    values = given.values
    return DetectOptions(
        inputs=several(values["inputs"]),
        bundle=bundle,
        outputs=[values["output"]],
        config=config,
        runner="dataflow",
        run_id=values.get("run_id"),
        beam_args=given.beam_args,
        from_ms=_moment(values.get("from_time")),
        to_ms=_moment(values.get("to_time")),
        alerts=False,
    )


def _moment(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise DistilwatchError(
            "there is no such time", text, "write 2026-06-01T12:00:00Z"
        ) from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def launch(arguments: Sequence[str], console: Console) -> str:
    """Starts the job, and returns where it can be looked at.

    Raises:
      DistilwatchError: a parameter, setting, input, bundle or dataset cannot be used.
    """
    given = split(arguments)
    with tempfile.TemporaryDirectory(prefix="distilwatch-launch-") as name:
        folder = Path(name)
        config = settings_of(given, folder)
        into_environment(config.dataflow.secrets)
        bundle = folder / "bundle"
        options = options_of(given, config, bundle)
        look = preflight.Preflight()
        look.check(lambda: download(given.values["bundle"], bundle))
        if bundle.exists():
            look.check(lambda: preflight.check_bundle(bundle))
        for uri in options.inputs:
            look.check(partial(preflight.check_input, uri, endless=True))
        look.check(lambda: preflight.check_output(options.outputs[0], options.inputs))
        look.check(lambda: preflight.check_beam_args(given.beam_args))
        look.check(lambda: preflight.check_reading_cost(config, options.inputs))
        look.check(lambda: preflight.check_registry(config))
        look.check(lambda: preflight.check_letter_keys(config))
        look.check(
            lambda: preflight.check_span(options.inputs, options.from_ms, options.to_ms, False)
        )
        look.check(lambda: checks.check_places(config, given.beam_args))
        look.check(lambda: checks.check_job(config, options.inputs, options.outputs, in_image=True))
        look.finish()
        plan = make_plan(options)
        return str(run_on_dataflow(plan, console, given.values["bundle"]).job)


def main() -> int:
    """Entry point; the exit code says whether the job was started."""
    with Console(False) as console:
        try:
            console.note(launch(sys.argv[1:], console))
        except DistilwatchError as mistake:
            console.warn(plain(str(mistake)))
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
