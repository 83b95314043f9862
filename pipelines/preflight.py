"""Everything that a command needs, looked at before it starts, all problems told together.

Nothing here creates or changes anything.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from schemas.errors import DistilwatchError

if TYPE_CHECKING:
    from pipelines.config import Config
    from transforms.ingest.bigquery import Estimate

T = TypeVar("T")
FILE_KINDS = (".jsonl", ".jsonl.gz")


class Preflight:
    """Collects problems; `finish` raises them as one error."""

    def __init__(self) -> None:
        self._problems: list[DistilwatchError] = []

    def check(self, look: Callable[[], T]) -> T | None:
        """Runs a check; the error that it raises is kept for `finish`."""
        try:
            return look()
        except DistilwatchError as problem:
            self._problems.append(problem)
            return None

    def finish(self) -> None:
        """Raises one DistilwatchError when anything was wrong."""
        if not self._problems:
            return
        if len(self._problems) == 1:
            raise self._problems[0]
        listed = "".join(f"\n{i}. {p}" for i, p in enumerate(self._problems, 1))
        raise DistilwatchError(
            f"{len(self._problems)} things must be mended first; nothing was started.{listed}"
        )


def check_input(uri: str, endless: bool = False, far: bool = False) -> None:
    """Raises DistilwatchError when there are no events to be had from a URI.

    Args:
      uri: a path, kafka://host:port/topic, or bigquery://project/dataset/table.
      endless: whether the topic may go on for ever.
      far: whether only workers need reach the broker of a topic that goes on for ever.
    """
    parts = urlsplit(uri)
    if parts.scheme == "kafka":
        from transforms.ingest.kafka import check_broker, parse_kafka_uri

        bounded = parse_kafka_uri(uri).bounded
        if not bounded and not endless:
            raise DistilwatchError(
                "history must have an end", f"--input {uri}", "leave bounded=false out"
            )
        if bounded or not far:
            check_broker(uri)
        return
    if parts.scheme == "bigquery":
        from transforms.bigquery import parse_bigquery_uri

        parse_bigquery_uri(uri, table=True)  # the table is looked at with its cost
        return
    if parts.scheme not in ("", "file") and len(parts.scheme) > 1:
        near = difflib.get_close_matches(parts.scheme, ("kafka", "bigquery", "file"), n=1)
        raise DistilwatchError(
            f"events cannot be read from {parts.scheme}://",
            f"--input {uri}",
            f"did you mean {near[0]}://?"
            if near
            else "give a file, kafka://host:port/topic or bigquery://project/dataset/table",
        )
    path = Path(parts.path if parts.scheme == "file" else uri)
    if any(letter in str(path) for letter in "*?["):
        if not any(Path(path.anchor or ".").glob(str(path.relative_to(path.anchor)))):
            raise DistilwatchError("no file matches", f"--input {uri}", "check the pattern")
        return
    if not path.exists():
        raise DistilwatchError("the file does not exist", f"--input {uri}", _near_file(path))
    if path.is_dir():
        raise DistilwatchError(
            "is a folder, not a file", f"--input {uri}", f"give its files: '{path / '*.jsonl'}'"
        )
    if not os.access(path, os.R_OK):
        raise DistilwatchError(
            "the file may not be read", f"--input {uri}", "ask for the permission to read it"
        )
    if path.is_file() and not path.name.endswith(FILE_KINDS):
        raise DistilwatchError(
            "the kind of file is not known from its name",
            f"--input {uri}",
            f"events are read from {' and '.join(FILE_KINDS)} files",
        )
    if path.is_file() and not path.stat().st_size:
        raise DistilwatchError("the file is empty", f"--input {uri}", "check how it was made")


def check_reading_cost(
    config: Config, inputs: Sequence[str], times: int = 1
) -> tuple[Estimate, ...]:
    """What reading will cost, of inputs that cost something.

    Args:
      config: with prices and the limit.
      inputs: URIs; those that are wrong are passed over here.
      times: how often they will be read.

    Raises:
      DistilwatchError: it costs more than it may, or a table cannot be read.
    """
    tables = []
    for uri in inputs:
        with suppress(DistilwatchError):  # which is told of the input
            if uri.startswith("bigquery://"):
                check_input(uri)
                tables.append(uri)
    if not tables:
        return ()
    from transforms.ingest.bigquery import estimate

    how = config.bigquery
    queried = how.read_with == "query"
    price = how.query_usd_per_tib if queried else how.read_usd_per_tib
    found = tuple(estimate(uri, how.read_with, price, times) for uri in tables)
    total = sum(one.usd for one in found)
    if how.max_cost_usd and total > how.max_cost_usd:
        lines = "; ".join(one.line() for one in found)
        raise DistilwatchError(
            f"reading would cost about {total:,.2f} USD, and {how.max_cost_usd:,.2f} are allowed "
            f"({lines})",
            "bigquery.max_cost_usd",
            "read less, with ?start=…&end=… after the table, or raise the limit",
        )
    return found


def _near_file(path: Path) -> str:
    if path.parent.is_dir():
        names = [p.name for p in path.parent.iterdir()]
        near = difflib.get_close_matches(path.name, names, n=2)
        if near:
            return f"did you mean {' or '.join(str(path.parent / name) for name in near)}?"
        return "check the name; `distilwatch simulate --out events.jsonl` makes some events"
    return f"there is no folder {path.parent}"


def check_runner(
    runner: str | None, inputs: Sequence[str], for_ms: int | None, beam_args: Sequence[str]
) -> None:
    """Raises DistilwatchError when a runner cannot read the inputs, or is not there.

    Args:
      runner: direct, prism, flink, dataflow, or None.
      inputs: URIs; those that are wrong are passed over here.
      for_ms: how long to run; None: until stopped.
      beam_args: Beam's own options.
    """
    from pipelines.parts import is_endless

    try:
        endless = is_endless(inputs)
    except DistilwatchError:
        return
    if endless and runner == "direct":
        raise DistilwatchError(
            "the embedded runner cannot read an endless topic",
            "--runner direct",
            "leave it out, or say prism",
        )
    if for_ms is not None and not endless:
        raise DistilwatchError(
            "only an endless topic can be read for a time",
            "--for",
            "leave it out, or add ?bounded=false to the topic",
        )
    if runner == "prism" or (endless and runner is None):
        from pipelines.prism import find_prism

        find_prism(beam_args)


def check_flink(
    runner: str | None,
    config: Config | None,
    inputs: Sequence[str],
    savepoint: str | None,
    master: str | None,
) -> None:
    """Raises DistilwatchError when a run on Flink lacks something, or something is for one only.

    Args:
      runner: flink, or another.
      config: settings; None when they are wrong.
      inputs: URIs.
      savepoint: that the run goes on from.
      master: of the command line.
    """
    if runner != "flink":
        for option, value in (("--flink-master", master), ("--from-savepoint", savepoint)):
            if value is not None:
                raise DistilwatchError(
                    "is for a run on Flink only", option, "leave it out, or add --runner flink"
                )
        return
    from pipelines.parts import is_endless

    try:
        endless = is_endless(inputs)
    except DistilwatchError:
        endless = True  # that is told of the input
    if savepoint is not None and not endless:
        raise DistilwatchError(
            "only an endless topic can go on from a savepoint",
            f"--from-savepoint {savepoint}",
            "leave it out, or add ?bounded=false to the topic",
        )
    if config is None:
        return
    if config.flink.master is None:
        raise DistilwatchError(
            "a run on Flink needs the cluster's address",
            "--flink-master",
            "give host:port of the job manager's REST interface, or set flink.master",
        )
    if config.flink.spool is not None and not Path(config.flink.spool).is_dir():
        raise DistilwatchError(
            "the folder does not exist", f"flink.spool {config.flink.spool}", "make it, on a disk "
            "that the task managers have under the same path",
        )  # fmt: skip
    from pipelines.flink.jobserver import find_job_server, flink_version
    from pipelines.flink.rest import check_cluster

    version = None
    if config.flink.job_server is None:
        version = flink_version(find_job_server())
    check_cluster(config.flink.master, version)


def check_span(
    inputs: Sequence[str], from_ms: int | None, to_ms: int | None, send_alerts: bool
) -> None:
    """Raises DistilwatchError when there is no such span of the past to score."""
    from pipelines.parts import is_endless

    if from_ms is None and to_ms is None:
        if send_alerts:
            raise DistilwatchError(
                "only a backfill keeps alerts back", "--send-alerts", "leave it out"
            )
        return
    if from_ms is not None and to_ms is not None and from_ms >= to_ms:
        raise DistilwatchError("the span ends before it begins", "--from, --to", "exchange them")
    try:
        endless = is_endless(inputs)
    except DistilwatchError:
        return
    if endless:
        raise DistilwatchError(
            "a backfill has an end", "--from, --to", "leave bounded=false out of the topic"
        )


def check_output(uri: str, inputs: Sequence[str] = (), patient: bool = False) -> None:
    """Raises DistilwatchError when rows could not be written to a URI.

    Args:
      uri: duckdb:///file, parquet:///folder, bigquery://project/dataset, or
        kafka://host:port/topic.
      inputs: URIs; where one has no end, a database may be in use by others just now.
      patient: whether it may be so in any case.
    """
    from pipelines.parts import is_endless
    from transforms.sinks import check_sink

    try:
        endless = is_endless(inputs)
    except DistilwatchError:
        endless = True  # that is told of the input; the lock is looked at next time
    check_sink(uri, wait=endless or patient)


def check_scratch(config: Config) -> None:
    """Raises DistilwatchError when there is no folder for what is passing."""
    import tempfile

    try:
        folder = Path(config.run.tmp or tempfile.gettempdir())
    except FileNotFoundError:
        raise DistilwatchError(
            "no folder for temporary files can be written", "run.tmp", "set it to one that can"
        ) from None
    if not folder.is_dir():
        raise DistilwatchError("the folder does not exist", f"run.tmp {folder}", "make it")
    if not os.access(folder, os.W_OK):
        raise DistilwatchError("may not be written", f"run.tmp {folder}", "choose another folder")


def check_known_texts(config: Config) -> None:
    """Raises DistilwatchError when a file of known texts cannot be used."""
    if config.ingest.known_texts:
        from pipelines.parts import known_texts

        known_texts(config)


def check_registry(config: Config) -> None:
    """Raises DistilwatchError when the schema registry does not answer, or refuses us."""
    from pipelines.parts import schema_registry

    registry = schema_registry(config)
    if registry is not None:
        registry.check()


def check_letter_keys(config: Config) -> None:
    """Raises DistilwatchError when the keys that seal dead letters are named and not there."""
    from transforms.ingest.sealing import letter_keys

    letter_keys(config.ingest.dead_letter_key_env)


def check_writable(path: Path, option: str) -> None:
    """Raises DistilwatchError when a file or folder could not be made at a path."""
    parent = path if path.exists() else path.absolute().parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not path.exists() and not parent.is_dir():
        raise DistilwatchError(
            f"{parent} is a file, not a folder", f"{option} {path}", "choose another place"
        )
    if not os.access(parent, os.W_OK):
        raise DistilwatchError(
            f"{parent} may not be written", f"{option} {path}", "choose another place"
        )


def check_event_target(uri: str, option: str) -> None:
    """Raises DistilwatchError when events could not be written to a file or topic."""
    if uri.startswith("kafka://"):
        from transforms.ingest.kafka import check_broker

        check_broker(uri)
        return
    if not uri.endswith(FILE_KINDS):
        raise DistilwatchError(
            "the kind of file is not known from its name",
            f"{option} {uri}",
            f"end it with {' or '.join(FILE_KINDS)}, or give kafka://host:port/topic",
        )
    check_file_target(Path(uri), option)


def check_file_target(path: Path, option: str) -> None:
    """Raises DistilwatchError when a file could not be written at a path."""
    if path.is_dir():
        raise DistilwatchError(
            "is a folder, not a file", f"{option} {path}", "add a file name to it"
        )
    check_writable(path, option)


def check_folder_target(path: Path, option: str) -> None:
    """Raises DistilwatchError when files could not be written to a folder."""
    if path.exists() and not path.is_dir():
        raise DistilwatchError(
            "is a file, not a folder", f"{option} {path}", "choose another place"
        )
    check_writable(path, option)


def check_folder(path: Path, option: str) -> None:
    """Raises DistilwatchError when there is no folder to read from."""
    if not path.is_dir():
        what = "is a file, not a folder" if path.exists() else "the folder does not exist"
        raise DistilwatchError(what, f"{option} {path}", "give an existing folder")


def check_labels(path: Path) -> None:
    """Raises DistilwatchError when a file of labels cannot be read."""
    if not path.is_file():
        raise DistilwatchError("the file does not exist", f"--labels {path}", _near_file(path))
    if not os.access(path, os.R_OK):
        raise DistilwatchError(
            "the file may not be read", f"--labels {path}", "ask for the permission to read it"
        )


def check_bundle_target(folder: Path) -> None:
    """Raises DistilwatchError when no bundle could be written to a folder."""
    from transforms.scoring.bundle import check_target

    check_writable(folder, "--bundle")
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        check_target(folder)  # an empty folder would be removed by it


def check_bundle(folder: Path) -> None:
    """Raises DistilwatchError when a bundle is missing, changed, unsigned, or does not fit."""
    from transforms.scoring.bundle import verify_bundle
    from transforms.scoring.store import bundle_folder

    verify_bundle(bundle_folder(folder))


def check_detectors(config: Config) -> None:
    """Raises DistilwatchError when a PyOD detector cannot be loaded or refuses its arguments."""
    import inspect

    from transforms.scoring.detectors import detector_class

    for i, detector in enumerate(config.scoring.detectors):
        accepted = list(inspect.signature(detector_class(detector.name)).parameters)
        for name in detector.params:
            if name not in accepted and "kwargs" not in accepted:
                near = difflib.get_close_matches(name, accepted, n=2)
                raise DistilwatchError(
                    f"{detector.name} has no argument {name!r}",
                    f"scoring.detectors[{i}].params",
                    f"did you mean {' or '.join(near)}?"
                    if near
                    else f"it accepts {', '.join(accepted)}",
                )


def check_beam_args(args: Sequence[str]) -> None:
    """Raises DistilwatchError for options after `--` that no part of Beam knows.

    Beam itself would pass over a misspelt option in silence. Options of a job server cannot be
    known here, so with --job_endpoint unknown ones are let through.
    """
    words = [a for a in args if not a.startswith("-")]
    if args and words and not args[0].startswith("-"):
        raise DistilwatchError(
            f"unexpected argument {args[0]!r}", "command line", "Beam's options start with --"
        )
    if not args or any(a.startswith("--job_endpoint") for a in args):
        return
    import argparse

    from apache_beam.options.pipeline_options import PipelineOptions

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    waiting = PipelineOptions.__subclasses__()
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if "_add_argparse_args" in vars(kind):
            kind._add_argparse_args(parser)
    known = set(parser._option_string_actions)
    for arg in args:
        name = arg.partition("=")[0]
        if name.startswith("--") and name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=2)
            raise DistilwatchError(
                f"Beam has no option {name}",
                "after `--`",
                f"did you mean {' or '.join(near)}?" if near else "check Beam's pipeline options",
            )


def check_on_call(config: Config) -> None:
    """Raises DistilwatchError when policies, channels, allowlist or a secret cannot be used."""
    from pipelines.oncall import check_rules

    check_rules(config.alerts)
