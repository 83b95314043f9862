"""Reads the settings file and reports every mistake in it at once.

>>> load_config(None).sessions.gap_ms
1800000
>>> load_config(None, {"sessions.gap": "20 min"}).sessions.gap_ms
1200000
"""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from pipelines import durations
from pipelines.settings import (
    AlertsConfig,
    BigQueryConfig,
    ClustersConfig,
    Config,
    CoverageConfig,
    DetectorConfig,
    EmbeddingConfig,
    IngestConfig,
    KnownTextsConfig,
    LinksConfig,
    ProfilesConfig,
    RunConfig,
    ScoringConfig,
    Section,
    SessionsConfig,
    SeverityConfig,
    across,
)
from pipelines.settings.across import Finding, Location
from schemas.errors import DistilwatchError

__all__ = [
    "AlertsConfig",
    "BigQueryConfig",
    "ClustersConfig",
    "Config",
    "CoverageConfig",
    "DetectorConfig",
    "EmbeddingConfig",
    "IngestConfig",
    "KnownTextsConfig",
    "LinksConfig",
    "Mistake",
    "ProfilesConfig",
    "RunConfig",
    "ScoringConfig",
    "SessionsConfig",
    "SeverityConfig",
    "describe",
    "load_config",
]

_TYPES = {
    "int_type": ("a whole number", "write a number without quotes and without a fraction"),
    "int_from_float": ("a whole number", "write a number without a fraction"),
    "float_type": ("a number", "write a number without quotes"),
    "bool_type": ("true or false", "write true or false, without quotes"),
    "string_type": ("a text", "put it in quotes"),
    "tuple_type": ("a list", "write one item a line, each after '- '"),
    "dict_type": ("a section", "write its settings below it, indented, as 'name: value'"),
    "model_type": ("a section", "write its settings below it, indented, as 'name: value'"),
    "model_attributes_type": ("a section", "write its settings below it, as 'name: value'"),
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong with the settings.

    Attributes:
      path: of the setting, such as `sessions.gap`.
      what: is wrong.
      mend: how to mend it.
      line: in the file, from 1; 0 when unknown.
    """

    path: str
    what: str
    mend: str
    line: int = 0

    def __str__(self) -> str:
        where = f" [line {self.line}]" if self.line else ""
        return f"{self.path}{where}: {self.what} ({self.mend})"


def load_config(path: Path | str | None, overrides: Mapping[str, Any] | None = None) -> Config:
    """Reads and checks all settings.

    Args:
      path: YAML file; None for the defaults.
      overrides: dotted path to value, such as `{"run.parallelism": 2}`; they win over the file.

    Raises:
      DistilwatchError: listing every mistake, each with its path, line and how to mend it.
    """
    raw: dict[str, Any] = {}
    lines: dict[Location, int] = {}
    repeated: list[Mistake] = []
    if path is not None:
        raw, lines, repeated = _read(Path(path))
    for dotted, value in (overrides or {}).items():
        _put(raw, tuple(dotted.split(".")), value)
    config, findings = _check(raw)
    mistakes = repeated + [
        Mistake(_dotted(at), what, mend, _line(lines, at)) for at, what, mend in findings
    ]
    if mistakes or config is None:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        listed = "".join(f"\n  {m}" for m in sorted(mistakes, key=lambda m: (m.line, m.path)))
        raise DistilwatchError(
            f"{path or 'the configuration'} has {count}:{listed}\n"
            "  `distilwatch config show` prints every setting with its meaning and default"
        )
    return config


# --- the file ------------------------------------------------------------------------------------


def _read(path: Path) -> tuple[dict[str, Any], dict[Location, int], list[Mistake]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DistilwatchError(
            f"the configuration cannot be read ({error.strerror})", str(path), _near(path)
        ) from error
    except UnicodeDecodeError as error:
        raise DistilwatchError(
            "the configuration is not UTF-8 text", str(path), "save it as UTF-8"
        ) from error
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        raw = yaml.safe_load(text)
        lines: dict[Location, int] = {}
        repeated = list(_walk(tree, (), lines))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        spot = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = " ".join(p for p in (error.problem, error.context) if p)
        raise DistilwatchError(
            f"the configuration is not YAML: {problem}",
            f"{path}{spot}",
            "mend that line; often a colon, a quote or the indentation is missing just before",
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DistilwatchError(
            f"the configuration is not YAML: {error}", str(path), "mend it"
        ) from error
    if raw is None:
        return {}, {}, []
    if not isinstance(raw, dict):
        raise DistilwatchError(
            f"the configuration is a {type(raw).__name__}, not settings",
            str(path),
            "write sections with 'name: value' below them",
        )
    return raw, lines, repeated


def _near(path: Path) -> str:
    folder = path.parent
    names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    if near and near[0] != path.name:
        return f"did you mean {folder / near[0]}?"
    return "check the path; `distilwatch config show` prints a file to begin with"


def _walk(node: Any, at: Location, lines: dict[Location, int]) -> Iterator[Mistake]:
    """Notes each setting's line, and finds names given twice, of which YAML would keep the last."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*at, str(key.value))
            line = key.start_mark.line + 1
            if here in lines:
                yield Mistake(
                    _dotted(here),
                    f"is given twice, first on line {lines[here]}",
                    "keep one of them",
                    line,
                )
            lines[here] = line
            yield from _walk(value, here, lines)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            lines[(*at, i)] = value.start_mark.line + 1
            yield from _walk(value, (*at, i), lines)


def _line(lines: Mapping[Location, int], at: Location) -> int:
    while at and at not in lines:
        at = at[:-1]
    return lines.get(at, 0)


def _put(raw: dict[str, Any], at: Location, value: Any) -> None:
    for name in at[:-1]:
        below = raw.setdefault(str(name), {})
        if not isinstance(below, dict):
            return  # the section itself is a mistake that will be reported
        raw = below
    raw[str(at[-1])] = value


def _dotted(at: Location) -> str:
    text = ""
    for part in at:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


# --- checks --------------------------------------------------------------------------------------


def _check(raw: dict[str, Any]) -> tuple[Config | None, list[Finding]]:
    """Validates; what is wrong is reported and taken out, so that the rest is checked too."""
    rest = deepcopy(raw)
    found: list[Finding] = []
    for _ in range(8):  # taking out a value can only bring up a few new mistakes
        try:
            config = Config.model_validate(rest)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                at: Location = tuple(detail["loc"])
                if detail["type"] == "too_short" and len(detail["input"]):
                    continue  # only because an item was refused, which is reported by itself
                found.append(_finding(at, dict(detail)))
                _take_out(rest, at)
            continue
        wrong = [finding[0] for finding in found]
        for involved, finding in across.between(config):
            if not any(_touches(bad, part) for bad in wrong for part in involved):
                found.append(finding)
        return (None if found else config), found
    return None, found


def _touches(bad: Location, part: Location) -> bool:
    size = min(len(bad), len(part))
    return bad[:size] == part[:size]


def _take_out(raw: Any, at: Location) -> None:
    """Removes a setting; a faulty item of a list gives way to a sound one, so that the others keep
    their numbers."""
    for i, name in enumerate(at):
        if isinstance(raw, list) and isinstance(name, int):
            raw[name] = {"name": "KNN"}
            return
        if not isinstance(raw, dict) or name not in raw:
            return
        if i == len(at) - 1:
            del raw[name]
            return
        raw = raw[name]


def _finding(at: Location, detail: dict[str, Any]) -> Finding:
    kind, value, context = detail["type"], detail.get("input"), detail.get("ctx") or {}
    if kind == "extra_forbidden":
        return at, "is not a setting", _did_you_mean(at)
    if kind in _TYPES:
        wanted, mend = _TYPES[kind]
        given = "nothing" if value is None else repr(value)
        return at, f"must be {wanted}, not {given}", mend
    if kind == "missing":
        return at, "is missing", "add it"
    if kind == "literal_error":
        return at, f"cannot be {value!r}", f"choose {context['expected']}"
    if kind in ("too_short", "too_long"):
        return at, f"has {context['actual_length']} items", _range(at)
    if kind == "value_error":
        message = str(context["error"])
        field = _field(at)
        if "is not a date" in message:
            return at, message, "write it like 2026-01-31T12:00:00Z"
        is_time = field is not None and _is_duration(field)
        return at, message, durations.HOW if is_time else "see `distilwatch config show`"
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        return at, f"is out of range: {_show(at, value)}", _range(at)
    return at, str(detail["msg"]).lower(), _range(at)


def _field(at: Location) -> FieldInfo | None:
    model: Any = Config
    field: FieldInfo | None = None
    for name in at:
        if isinstance(name, int):
            model = DetectorConfig
            continue
        if not (isinstance(model, type) and issubclass(model, Section)):
            return None
        field = model.model_fields.get(name)
        if field is None:
            return None
        model = field.annotation
    return field


def _is_duration(field: FieldInfo) -> bool:
    return any(getattr(m, "func", None) is durations.parse_duration for m in field.metadata)


def _show(at: Location, value: Any) -> str:
    field = _field(at)
    if field is not None and _is_duration(field) and isinstance(value, int):
        return durations.format_duration(value)  # already read, so in milliseconds
    return repr(value)


def _range(at: Location) -> str:
    field = _field(at)
    if field is None:
        return "see `distilwatch config show`"
    show: Callable[[Any], str] = durations.format_duration if _is_duration(field) else str
    words = []
    for name, text in (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below")):
        for part in field.metadata:
            if getattr(part, name, None) is not None:
                words.append(f"{text} {show(getattr(part, name))}")
    for name, text in (("min_length", "at least"), ("max_length", "at most")):
        for part in field.metadata:
            if getattr(part, name, None) is not None:
                words.append(f"{text} {getattr(part, name)} long")
    return " and ".join(words) or "see `distilwatch config show`"


def _did_you_mean(at: Location) -> str:
    parent = _field(at[:-1])
    model: Any = Config if len(at) == 1 else parent.annotation if parent is not None else None
    if len(at) > 1 and isinstance(at[-2], int):
        model = DetectorConfig
    names = list(model.model_fields) if hasattr(model, "model_fields") else []
    name = str(at[-1])
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    homes = [_dotted((s, name)) for s, _ in _sections() if name in _.model_fields]
    if homes:
        return f"it belongs to {' or '.join(homes)}"
    return f"settings here are {', '.join(names)}" if names else "take it out"


def _sections() -> list[tuple[str, type[Section]]]:
    return [
        (name, field.annotation)
        for name, field in Config.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    ]


# --- showing -------------------------------------------------------------------------------------


def describe(config: Config) -> str:
    """The settings as YAML, each after a comment that says what it means."""
    lines: list[str] = []
    _describe(config, config.model_dump(), 0, lines)
    return "\n".join(lines).strip() + "\n"


def _describe(section: Section, values: dict[str, Any], depth: int, lines: list[str]) -> None:
    pad = "  " * depth
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            if depth == 0:
                lines.append("")
            about = field.description or " ".join((type(value).__doc__ or "").split())
            lines += [*_comment(about, pad), f"{pad}{name}:"]
            _describe(value, values[name], depth + 1, lines)
            continue
        lines += _comment(field.description or "", pad)
        text = yaml.safe_dump(
            {name: _plain(values[name])}, sort_keys=False, allow_unicode=True, width=96
        )
        lines += [f"{pad}{line}" for line in text.splitlines()]


def _comment(text: str, pad: str) -> list[str]:
    return textwrap.wrap(text, 96, initial_indent=f"{pad}# ", subsequent_indent=f"{pad}# ")


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
