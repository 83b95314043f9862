"""Beam's job server for Flink: it takes our pipeline and makes a Flink job of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pipelines.guarded import free_port, guarded, listens
from schemas.errors import DistilwatchError

VARIABLE = "DISTILWATCH_FLINK_LIBS"
_LOCAL = Path(".local/flink/libs")
_JARS = "beam-runners-flink-*.jar"
_MAIN = "org.apache.beam.runners.flink.FlinkJobServerDriver"
_START_S = 120.0
_OLDEST_JAVA = 11
# Flink and Beam look into Java's own classes, which Java 17 no longer allows unasked.
OPENS = tuple(
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in (
        "java.util", "java.lang", "java.net", "java.nio", "sun.nio.ch", "java.util.concurrent",
        "java.time",
    )
)  # fmt: skip


def find_job_server() -> Path:
    """Folder of the job server's jars: of the environment, or ./.local.

    Raises:
      DistilwatchError: there are none, or there is no Java to run them.
    """
    named = os.environ.get(VARIABLE)
    folder = Path(named) if named else _LOCAL
    if not any(folder.glob(_JARS)):
        raise DistilwatchError(
            "a run on Flink needs Beam's job server, and its jars are not there",
            f"{VARIABLE}={named}" if named else f"looked at ${VARIABLE} and {_LOCAL}",
            f"`make services` installs them into {_LOCAL}; or start a job server of your own and "
            "name it in flink.job_server",
        )
    if shutil.which("java") is None:
        raise DistilwatchError(
            "Beam's job server for Flink needs Java, and `java` is not on PATH",
            "",
            f"install a Java run time, {_OLDEST_JAVA} or newer",
        )
    return folder.absolute()


def flink_version(libs: Path) -> str:
    """The Flink that the job server speaks to, e.g. "1.19"."""
    names = [path.name for path in libs.glob(_JARS)]
    found = re.match(r"beam-runners-flink-([0-9.]+)-", names[0]) if names else None
    return found[1] if found else "unknown"


@contextmanager
def job_server_running(libs: Path, master: str) -> Iterator[str]:
    """Starts a job server and yields its address; it ends with the block, or with this process.

    Args:
      libs: folder of its jars.
      master: host:port of the cluster's REST interface.

    Raises:
      DistilwatchError: it does not start.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="distilwatch-flink-") as folder:
        command = [
            "java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *OPENS,
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
            "-cp", f"{libs}/*", _MAIN,
            f"--flink-master={master}", "--job-host=127.0.0.1", f"--job-port={port}",
            "--artifact-port=0", "--expansion-port=0", f"--artifacts-dir={folder}/artifacts",
        ]  # fmt: skip
        with (
            (Path(folder) / "log").open("w+b") as log,
            guarded(command, log, partial(listens, port), _START_S, _failed),
        ):
            yield f"127.0.0.1:{port}"


def _failed(said: str) -> DistilwatchError:
    java = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    return DistilwatchError(
        f"Beam's job server for Flink does not start{': ' + said if said else ''}",
        java.partition("\n")[0],
        f"check that Java is {_OLDEST_JAVA} or newer and that `make services` has run through",
    )
