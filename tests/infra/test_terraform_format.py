"""infra/terraform is written as HCL's own formatter writes it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from infra.local.services import ServiceError, hclfmt_location

FILES = sorted((Path(__file__).resolve().parents[2] / "infra" / "terraform").rglob("*.tf"))


@pytest.fixture(scope="module")
def hclfmt() -> Path:
    try:
        return hclfmt_location()
    except ServiceError as missing:
        pytest.skip(f"the format is not checked: {missing}")


def formatted(hclfmt: Path, path: Path) -> str:
    done = subprocess.run([hclfmt, "-check", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_files_are_formatted(hclfmt: Path) -> None:
    assert len(FILES) > 15
    for path in FILES:
        assert formatted(hclfmt, path) == path.read_text(encoding="utf-8"), path


def test_what_is_not_would_be_seen(hclfmt: Path, tmp_path: Path) -> None:
    path = tmp_path / "main.tf"
    path.write_text("locals {\n  a = 1\n  longer=2\n}\n")
    assert formatted(hclfmt, path) == "locals {\n  a      = 1\n  longer = 2\n}\n"
    path.write_text("locals {\n")
    with pytest.raises(AssertionError, match=r"main\.tf"):
        formatted(hclfmt, path)
