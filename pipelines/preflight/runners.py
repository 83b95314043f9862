"""Where a pipeline runs, over what span, and Beam's own options."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from schemas.errors import DistilwatchError

if TYPE_CHECKING:
    from pipelines.config import Config


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
    if runner == "prism" and not endless:
        # Profiles of it come when all is read, at times long past; Prism drops them as too late.
        raise DistilwatchError(
            "Prism would lose the profiles and clusters of input that ends",
            "--runner prism",
            "leave it out, or add ?bounded=false to the topic",
        )
    if for_ms is not None and not endless:
        raise DistilwatchError(
            "only an endless topic can be read for a time",
            "--for",
            "leave it out, or add ?bounded=false to the topic",
        )
    if endless and runner in (None, "prism"):
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
        if config is not None and config.run.on_stop == "leave":
            raise DistilwatchError(
                "only a job on Flink goes on without the command",
                "run.on_stop leave",
                "let it stop or drain, or add --runner flink",
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
    if config.run.on_stop == "leave" and config.flink.workers == "loopback":
        raise DistilwatchError(
            "workers inside the command cannot be left behind",
            "run.on_stop leave, flink.workers loopback",
            "give the address of a pool of workers, or let it stop or drain",
        )
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

    def wrong(message: str) -> NoReturn:
        raise DistilwatchError(f"Beam refuses an option: {message}", "after `--`", "mend its value")

    parser.error = wrong  # type: ignore[method-assign]
    parser.parse_known_args(list(args))
