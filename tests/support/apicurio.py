"""Apicurio, a real schema registry, as an ordinary process of this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from infra.local.services import ServiceError, free_ports, local_dir

_START_S = 120.0


def apicurio_jar() -> Path:
    """Its program.

    Raises:
      ServiceError: it, or Java, is missing.
    """
    found = sorted((local_dir() / "apicurio").glob("apicurio-registry-app-*-runner.jar"))
    if not found:
        raise ServiceError(
            f"Apicurio is not installed in {local_dir() / 'apicurio'}: run `make services`"
        )
    if shutil.which("java") is None:
        raise ServiceError("`java` is missing, which Apicurio needs: install a JRE, 17+")
    return found[-1]


@contextmanager
def apicurio_running(folder: Path) -> Iterator[str]:
    """Starts one that keeps schemas in memory; yields the address of its Confluent interface."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}/apis/ccompat/v7"
    with (folder / "apicurio.log").open("ab") as log:
        process = subprocess.Popen(
            [
                "java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                "-Dquarkus.http.host=127.0.0.1", f"-Dquarkus.http.port={port}",
                "-jar", str(apicurio_jar()),
            ],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=folder,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + _START_S
            while not _answers(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise ServiceError(
                        f"Apicurio does not start: {(folder / 'apicurio.log').read_text()[-2000:]}"
                    )
                time.sleep(0.3)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/subjects", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def register(url: str, subject: str, schema: Any, kind: str = "AVRO") -> int:
    """Registers a schema and returns its id."""
    body = {"schema": schema if isinstance(schema, str) else json.dumps(schema), "schemaType": kind}
    answer = httpx.post(f"{url}/subjects/{subject}/versions", json=body, timeout=20)
    answer.raise_for_status()
    return int(answer.json()["id"])
