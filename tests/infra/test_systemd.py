"""infra/systemd: units that systemd understands, with commands that there are."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from pipelines.commands.group import cli

UNITS = sorted((Path(__file__).resolve().parents[2] / "infra" / "systemd").iterdir())
COMMAND = "/opt/distilwatch/.venv/bin/distilwatch"


def commands() -> list[str]:
    text = "".join(unit.read_text(encoding="utf-8") for unit in UNITS).replace("\\\n", " ")
    return re.findall(r"^ExecStart=(.+)$", text, re.MULTILINE)


@pytest.mark.parametrize("line", commands())
def test_every_command_and_option_is_there(line: str) -> None:
    name, *words = shlex.split(line)
    assert name == COMMAND
    command: click.Command = cli
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    context = click.Context(command)
    command.parse_args(context, words)  # raises for an option that is not one of its own
    assert not context.args


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    copies = []
    for unit in UNITS:
        copies.append(tmp_path / unit.name)
        text = unit.read_text(encoding="utf-8").replace(COMMAND, "/bin/true")
        copies[-1].write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, copies)],
        text=True, capture_output=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "distilwatch" in line]
    assert said == []
