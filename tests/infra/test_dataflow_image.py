"""infra/dataflow: image and start program agree with what is locked and installed."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "infra" / "dataflow"
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")


def locked(name: str) -> dict[str, str]:
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    # Extras say nothing of the version, and differ with what else is asked for.
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[[a-z, ]+\])?==([^ ;]+)", text, re.MULTILINE))


def test_the_image_has_what_is_locked_with_hashes() -> None:
    mine, all_ = locked("infra/dataflow/requirements.lock"), locked("requirements-dev.lock")
    assert {name: all_.get(name) for name in mine} == mine
    for needed in ("google-cloud-dataflow-client", "google-cloud-secret-manager", "pyod"):
        assert needed in mine
    assert "playwright" not in mine
    text = (FOLDER / "requirements.lock").read_text(encoding="utf-8")
    assert text.count("==") <= text.count("--hash=sha256:")
    assert "://" not in text
    assert "--require-hashes -r requirements.lock" in DOCKERFILE


def test_launcher_and_workers_have_one_python_and_one_beam() -> None:
    beam = re.search(r"^ARG BEAM=(.+)$", DOCKERFILE, re.MULTILINE)
    python = re.search(r"^ARG PYTHON=(.+)$", DOCKERFILE, re.MULTILINE)
    assert beam is not None
    assert python is not None
    versions = locked("infra/dataflow/requirements.lock")
    assert beam[1] in {v for n, v in versions.items() if n.startswith("apache-beam")}
    assert f"python{python[1].replace('.', '')}-template-launcher-base" in DOCKERFILE


def test_everything_that_is_copied_is_there() -> None:
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        *sources, _ = line.split()
        for source in sources:
            assert (REPOSITORY / source).exists(), source
    entry = re.search(r'^ENTRYPOINT \["/opt/distilwatch/(.+)"\]$', DOCKERFILE, re.MULTILINE)
    assert entry is not None
    assert os.access(FOLDER / entry[1], os.X_OK)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--id=sdk-0-0", "--provision_endpoint=localhost:1"], "boot"),
        (["--logging_endpoint=a:1", "--control_endpoint=a:2"], "boot"),
        (["-pipelineOptions=x", "--inputs=kafka://b:9092/t"], "launcher"),
        ([], "launcher"),
    ],
)
def test_the_start_program_tells_workers_from_the_launcher(
    arguments: list[str], expected: str, tmp_path: Path
) -> None:
    text = (FOLDER / "start.sh").read_text(encoding="utf-8")
    for path, name in (
        ("/opt/apache/beam/boot", "boot"),
        ("/opt/google/dataflow/python_template_launcher", "launcher"),
    ):
        assert path in text
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} "$@"\n')
        program.chmod(0o755)
        text = text.replace(path, str(program))
    done = subprocess.run(
        ["sh", "-c", text, "start", *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [expected, *arguments]


def test_only_public_keys_are_put_into_the_image() -> None:
    for path in (FOLDER / "trusted").iterdir():
        assert "PRIVATE" not in path.read_text(encoding="utf-8")
