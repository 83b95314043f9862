"""Pages of the documentation that are made from the code: settings, commands, and the runbook that
lies beside the policies, where the triage pages find it.

`python -m pipelines.reference` writes them; a test looks whether they are as the code is.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import click
import yaml
from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from pipelines.config import load_config
from pipelines.durations import parse_duration
from pipelines.settings import Config, Section
from pipelines.settings.base import read_instant
from transforms.alerts.paging import PACKAGED

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"
RUNBOOK = PACKAGED / "runbook.md"
_MADE = "<!-- Made by `make generate` from the code; do not edit. -->\n"
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
_KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}


def pages() -> dict[Path, str]:
    """Texts of all pages by file."""
    return {
        FOLDER / "settings.md": settings_page(),
        FOLDER / "commands.md": commands_page(),
        FOLDER.parent / RUNBOOK.name: runbook_page(),
    }


def runbook_page() -> str:
    """What to do when an alert comes."""
    source = RUNBOOK.relative_to(FOLDER.parents[1]).as_posix()
    return _MADE.replace("the code", source) + RUNBOOK.read_text("utf-8")


# --- settings -------------------------------------------------------------------------------------


def settings_page() -> str:
    """Every setting with its default, its kind and its meaning."""
    lines = [
        _MADE, "# Settings", "",
        "One YAML file, given with `--config`; what is left out has its default. "
        "`distilwatch config show` prints the same as a file to begin with, and `distilwatch "
        "config check FILE` tells every mistake in one at once.", "",
    ]  # fmt: skip
    defaults = load_config(None)
    dumped = defaults.model_dump()
    for name in Config.model_fields:
        lines += _section(getattr(defaults, name), dumped[name], name, 2)
    return "\n".join(lines).rstrip() + "\n"


def _section(section: Section, values: dict[str, Any], path: str, depth: int) -> Iterator[str]:
    yield f"{'#' * depth} `{path}`"
    yield ""
    yield " ".join((type(section).__doc__ or "").split())
    yield ""
    inner = []
    rows = []
    for name, field in type(section).model_fields.items():
        if isinstance(getattr(section, name), Section):
            inner.append(name)
            continue
        default = yaml.safe_dump(_plain(values[name]), default_flow_style=True, width=10_000)
        shown = default.removesuffix("\n").removesuffix("\n...")
        shown = shown if len(shown) <= 60 else f"{shown[:57]}…"
        rows.append(f"| `{name}` | `{shown}` | {_kind(field)} | {_cell(field.description or '')} |")
    if rows:
        yield "| setting | default | kind | meaning |"
        yield "|---|---|---|---|"
        yield from rows
        yield ""
    for name in inner:
        yield from _section(getattr(section, name), values[name], f"{path}.{name}", depth + 1)


def _kind(field: FieldInfo) -> str:
    if any(getattr(m, "func", None) is parse_duration for m in field.metadata):
        kind = "length of time"
    elif any(isinstance(m, BeforeValidator) and m.func is read_instant for m in field.metadata):
        return "date or time"
    else:
        kind = _named(field.annotation)
    bounds = [
        f"{sign} {_number(getattr(m, name))}"
        for name, sign in _BOUNDS.items()
        for m in field.metadata
        if isinstance(getattr(m, name, None), int | float) and kind != "length of time"
    ]
    return _cell(", ".join([kind, *bounds]))


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _named(kind: Any) -> str:
    inner = [arg for arg in get_args(kind) if arg is not type(None)]
    if kind in _KINDS:
        return _KINDS[kind]
    if get_origin(kind) is tuple:
        return "list"
    if get_origin(kind) is dict:
        return "names and values"
    if inner and all(isinstance(arg, str) for arg in inner):
        return " or ".join(f"`{arg}`" for arg in inner)
    if len(inner) == 1:
        optional = type(None) in get_args(kind)
        return _named(inner[0]) + (" or null" if optional else "")
    return "value"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# --- commands -------------------------------------------------------------------------------------


def commands_page() -> str:
    """Every command with its options and examples."""
    from pipelines.commands.group import cli

    lines = [_MADE, "# Commands", "", *_help(cli, None), ""]
    context = click.Context(cli, info_name="distilwatch")
    for name in cli.list_commands(context):
        lines += _command(cli.commands[name], context, name, 2)
    return "\n".join(lines).rstrip() + "\n"


def _command(command: click.Command, parent: click.Context, name: str, depth: int) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    yield f"{'#' * depth} `{context.command_path}`"
    yield ""
    yield from _help(command, context)
    yield ""
    rows = []
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            record = parameter.get_help_record(context)
            if record is not None:
                rows.append(f"| `{_cell(record[0])}` | {_cell(record[1])} |")
    if rows:
        yield from ("| option | meaning |", "|---|---|", *rows, "")
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            yield from _command(command.commands[inner], context, inner, depth + 1)


def _help(command: click.Command, context: click.Context | None) -> Iterator[str]:
    """The help text; examples, which click keeps as they are, become a block of code."""
    text = inspect.cleandoc((command.help or "").replace("\f", ""))
    for part in text.split("\n\n"):
        kept = part.lstrip("\n")
        if kept.startswith("\b"):
            body = [line for line in kept.removeprefix("\b").split("\n") if line.strip()]
            if all(line.startswith("  ") for line in body[1:]):
                yield from ("```sh", *(line.removeprefix("  ") for line in body[1:]), "```")
            else:
                yield from ("```text", *body, "```")
        elif kept.strip():
            yield " ".join(kept.split())
        yield ""


def main() -> None:
    """Writes the pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
