"""Everything that is looked at, in the order in which it is told."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines import preflight
from pipelines.doctor import machine
from pipelines.doctor.finding import FAIL, OK, SKIP, WARN, Finding, looked
from pipelines.observe import traces
from schemas.errors import DistilwatchError, without_user
from transforms.sinks import parts_of

if TYPE_CHECKING:
    from pipelines.config import Config


@dataclass(frozen=True)
class Subject:
    """What is to be looked at beside the machine itself.

    Attributes:
      config_path: settings; None: defaults.
      inputs, outputs: URIs as of `detect`.
      bundle: folder.
      runner: direct, prism, flink or dataflow; None: as of `detect`.
      beam_args: Beam's own options.
      input_format: of records; None: as the settings say.
      flink_master: host:port of Flink; None: as the settings say.
    """

    config_path: Path | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    bundle: Path | None = None
    runner: str | None = None
    beam_args: tuple[str, ...] = ()
    input_format: str | None = None
    flink_master: str | None = None


def examine(subject: Subject) -> Iterator[Finding]:
    """Looks at one thing after the other; creates and changes nothing."""
    from transforms.scoring.signing import home

    yield machine.python()
    yield looked("machine", "packages", machine.locked)
    yield from machine.extras()
    config, found = _settings(subject)
    yield found
    tmp = config.run.tmp if config is not None else None
    yield looked("machine", "disk for temporary files", partial(machine.scratch, tmp))
    yield machine.memory()
    yield from machine.home_folder(home())
    if config is not None:
        yield from _of_settings(config, subject.inputs)
    yield _clock(config)
    yield from _traces()
    if subject.bundle is not None:
        yield looked("bundle", str(subject.bundle), partial(_bundle, subject.bundle))
    for uri in subject.inputs:
        yield looked("input", _shown(uri), partial(_input, uri, subject.runner, config))
    if config is not None and any(uri.startswith("bigquery:") for uri in subject.inputs):
        yield looked("input", "cost of reading", partial(_cost, config, subject.inputs))
    for uri in subject.outputs:
        yield looked("output", _shown(uri), partial(_output, uri, subject.inputs))
        with suppress(DistilwatchError):  # of no address, which the line before has told
            if uri.startswith(("duckdb:", "parquet:")):
                yield machine.disk(f"disk of {_shown(uri)}", Path(parts_of(uri).path[1:] or "."))
    yield from _engines(subject, config)


def _traces() -> Iterator[Finding]:
    """Where traces go, when the environment names a collector; a run goes on without."""
    endpoint = traces.collector()
    if endpoint is None:
        return
    why = traces.hindrance(endpoint)
    if why:
        yield Finding("traces", endpoint, WARN, "no traces are sent", why)
    elif why := traces.reached():
        mend = "start the collector, or mend OTEL_EXPORTER_OTLP_ENDPOINT and …_HEADERS"
        yield Finding("traces", endpoint, WARN, f"takes no spans ({why})", mend)
    else:
        yield Finding("traces", endpoint, OK, "takes spans")


def _settings(subject: Subject) -> tuple[Config | None, Finding]:
    from pipelines.commands import options
    from pipelines.config import load_config

    read: list[Config] = []
    path = subject.config_path

    def look() -> str:
        read.append(load_config(path, options.settings(subject.input_format, subject.flink_master)))
        return f"{path} has no mistake" if path else "defaults; none were given with --config"

    found = looked("settings", "file", look)
    return (read[0] if read else None), found


def _of_settings(config: Config, inputs: tuple[str, ...]) -> Iterator[Finding]:
    """What the settings name."""
    ingest = config.ingest
    checks: list[tuple[str, str, Callable[[Config], None], str]] = []
    if os.environ.get(ingest.hmac_key_env):
        checks.append(("keys", ingest.hmac_key_env, _key, "set in the environment"))
    elif ingest.hmac_key_file:
        checks.append(("keys", "ingest.hmac_key_file", _key, "can be read"))
    if name := ingest.dead_letter_key_env:
        checks.append(("keys", name, preflight.check_letter_keys, "seals dead letters"))
    if ingest.format != "events":
        fits = partial(preflight.check_format, inputs=inputs)
        checks.append(("settings", "ingest.format", fits, f"records are {ingest.format}'s"))
    if ingest.known_texts:
        said = "all collections can be read"
        checks.append(("settings", "ingest.known_texts", preflight.check_known_texts, said))
    if url := ingest.registry.url:
        checks.append(("settings", "ingest.registry", preflight.check_registry, f"{url} answers"))
    if config.watch.list:
        said = "the watch list can be read"
        checks.append(("settings", "watch.list", preflight.check_watch_list, said))
    if config.run.tmp:
        checks.append(("settings", "run.tmp", preflight.check_scratch, "can be written"))
    if config.observe.metrics_file:
        said = "can be written"
        checks.append(("settings", "observe.metrics_file", preflight.check_metrics_file, said))
    checks.append(("settings", "alerts", preflight.check_on_call, "policies and channels"))
    named = ", ".join(d.name for d in config.scoring.detectors)
    checks.append(("settings", "scoring.detectors", preflight.check_detectors, named))
    for part, name, check, said in checks:
        yield looked(part, name, partial(_said, check, config, said))


def _said(check: Callable[[Config], None], config: Config, said: str) -> str:
    check(config)
    return said


def _key(config: Config) -> None:
    from transforms.ingest.pseudonyms import load_key
    from transforms.scoring.signing import home

    load_key(config.ingest.hmac_key_env, config.ingest.hmac_key_file, home())


def _clock(config: Config | None) -> Finding:
    if config is None or config.ingest.registry.url is None:
        return machine.clock()
    there = looked("machine", "clock", partial(_date, config.ingest.registry.url), SKIP)
    try:
        at = float(there.said)
    except ValueError:
        return machine.clock(max_future_ms=config.ingest.max_future_ms)
    return machine.clock(("the schema registry", at), config.ingest.max_future_ms)


def _date(url: str) -> str:
    """The clock of a server, from the header Date of its answer, whatever that is."""
    from email.utils import parsedate_to_datetime

    import httpx

    began = time.time()
    answer = httpx.head(url, timeout=5)
    half = (time.time() - began) / 2
    return str(parsedate_to_datetime(answer.headers["date"]).timestamp() + half)


def _bundle(folder: Path) -> Finding:
    from transforms.scoring.bundle import verify_bundle
    from transforms.scoring.store import bundle_folder

    about, _ = verify_bundle(bundle_folder(folder))
    said = f"signature and all files are right, version {about['bundle_version']}"
    folder = bundle_folder(folder)
    age = int(time.time() - (folder / "manifest.json").stat().st_mtime) // 86_400
    if age:
        said += f", made {age} days ago"
        if age > 60:
            mend = "train a new one on newer history; see docs/changing_bundles.md"
            return Finding("bundle", str(folder), WARN, said, mend)
    return Finding("bundle", str(folder), OK, said)


def _input(uri: str, runner: str | None, config: Config | None) -> str | Finding:
    preflight.check_input(uri, endless=True, far=runner == "dataflow")
    if not uri.startswith("kafka:"):
        strange = preflight.strange_records(config, uri) if config is not None else None
        if strange is not None:
            return Finding("input", _shown(uri), WARN, strange.what, strange.mend)
        return "can be read"
    from transforms.ingest.kafka import parse_kafka_uri, spans

    topic = parse_kafka_uri(uri)
    if runner == "dataflow" and not topic.bounded:
        return Finding("input", _shown(uri), SKIP, "only the workers need reach its broker")
    found = spans(topic).values()
    waiting = sum(end - start for start, end in found)
    return f"the broker answers: {len(found)} partitions, {waiting:,} records to read"


def _output(uri: str, inputs: tuple[str, ...]) -> str:
    preflight.check_output(uri, inputs)
    return "the dataset can be written" if uri.startswith("bigquery:") else "can be written"


def _cost(config: Config, inputs: tuple[str, ...]) -> str:
    return "; ".join(one.line() for one in preflight.check_reading_cost(config, inputs))


def _engines(subject: Subject, config: Config | None) -> Iterator[Finding]:
    """The runner that was asked for; where none was, those that are there."""
    from pipelines.parts import is_endless

    try:
        endless = is_endless(subject.inputs)
    except DistilwatchError:
        endless = False  # told of the input
    wanted = subject.runner or ("prism" if endless else None)
    if wanted == "direct":
        yield looked("engine", "direct", partial(_direct, subject))
    if subject.beam_args:
        yield looked("engine", "Beam's options", partial(_beam, subject.beam_args))
    yield looked("engine", "prism", partial(_prism, subject), FAIL if wanted == "prism" else SKIP)
    flink = config is not None and config.flink.master is not None
    if wanted == "flink" or flink:
        yield looked(
            "engine", "flink", partial(_flink, config), FAIL if wanted == "flink" else WARN
        )
    if wanted == "dataflow":
        yield looked("engine", "dataflow", partial(_dataflow, subject, config))


def _direct(subject: Subject) -> str:
    preflight.check_runner("direct", subject.inputs, None, subject.beam_args)
    return "Beam's embedded runner, in the process of the command"


def _prism(subject: Subject) -> str:
    from pipelines.prism import find_prism

    if subject.runner == "prism" and subject.inputs:
        preflight.check_runner("prism", subject.inputs, None, subject.beam_args)
    return f"{find_prism(subject.beam_args)}"


def _beam(args: tuple[str, ...]) -> str:
    preflight.check_beam_args(args)
    return f"{len(args)} are known"


def _flink(config: Config | None) -> str | Finding:
    preflight.check_flink("flink", config, (), None, None)
    assert config is not None  # without, there is no address, which check_flink tells
    assert config.flink.master is not None
    from pipelines.flink.rest import FlinkRest
    from pipelines.flink.retained import MEND, retains_too_few

    rest = FlinkRest(config.flink.master)
    try:
        seen = f"Flink {rest.version()} at {config.flink.master}, {rest.slots()} task slots"
        wrong = retains_too_few(rest.configuration())
    finally:
        rest.close()
    return Finding("engine", "flink", WARN, f"{seen}; {wrong}", MEND) if wrong else seen


def _dataflow(subject: Subject, config: Config | None) -> str:
    from pipelines.dataflow.checks import check_command

    check_command(config, subject.inputs, subject.outputs, None, subject.beam_args)
    return "project, region, buckets and secrets are named"


def _shown(uri: str) -> str:
    """A URI without what might be secret in it."""
    return without_user(uri).split("?")[0]
