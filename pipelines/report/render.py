"""A story as one HTML file that needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipelines.report import charts
from pipelines.report.story import Cluster, Member, Session, Story, p_text
from transforms.alerts.wording import dollars

_LANES = 24
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


def render(story: Story) -> str:
    """The report as HTML.

    Everything from the tables is escaped; the page has no scripts and its content policy forbids
    every request.
    """
    context: dict[str, Any] = {
        "story": story,
        "css": Markup(stylesheet()),  # our own file
        "bundles": sorted({c.bundle_version for c in story.clusters if c.bundle_version}),
        "truth": bool(story.campaigns or story.benign),
        "found": sum(c.flagged > 0 for c in story.campaigns),
        "false_alarms": sum(b.flagged for b in story.benign),
        "benign": sum(b.accounts for b in story.benign),
        "lanes": _LANES,
        "balance": lambda: charts.shares([(n, float(v)) for n, v in story.balance[1:]]),
    }
    return environment().get_template("report.html.j2").render(context)


def environment(*packages: str) -> Environment:
    """Where templates are found and what they may call.

    Args:
      packages: with a folder `templates`, that is looked into first.
    """
    loaders = [PackageLoader(name) for name in packages]
    made = Environment(
        loader=ChoiceLoader([*loaders, PackageLoader("pipelines.report", "")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    made.filters.update(_FILTERS)
    made.globals.update(
        verdict=_verdict,
        meter=_meter,
        deviation=charts.deviation,
        activity=_activity,
        lane=_lane,
        axis=lambda c: charts.ticks(*_bounds(c)),
    )
    return made


def stylesheet() -> str:
    """Colours for both themes, then the look of everything that reports and cases have."""
    folder = files("pipelines.report")
    return "".join(folder.joinpath(f).read_text("utf-8") for f in ("theme.css", "report.css"))


def _sessions(cluster: Cluster) -> list[Session]:
    return [session for member in cluster.members for session in member.sessions]


def _bounds(cluster: Cluster) -> tuple[int, int]:
    sessions = _sessions(cluster)
    return min(s.start_ms for s in sessions), max(s.end_ms for s in sessions)


def _activity(cluster: Cluster) -> Markup:
    return charts.activity(_sessions(cluster), *_bounds(cluster))


def _lane(cluster: Cluster, member: Member) -> Markup:
    busiest = max(charts.pace(session) for session in _sessions(cluster))
    return charts.lane(member.sessions, *_bounds(cluster), busiest)


def _meter(part: int, total: int, kind: str) -> Markup:
    width = 100 * part / total if total else 0.0
    return Markup(
        '<svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="base" width="100" height="8" rx="1"/>'
        '<rect class="{}" width="{}" height="8" rx="1"/></svg>'
    ).format(kind, f"{width:.1f}")


def _verdict(cluster: Cluster) -> Markup:
    attack = cluster.is_attack()
    if attack is None:
        return Markup("")
    if attack:
        return Markup('<span class="true">✓ Right.</span>')
    return Markup('<span class="false">✗ False alarm.</span>')


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


_FILTERS: dict[str, Callable[..., Any]] = {
    "time": charts.time_text,
    "money": dollars,
    "p": p_text,
    "anchor": lambda name: "cluster-" + _UNSAFE.sub("-", name),
    "words": lambda text: text.replace("_", " "),
    "capital": _capital,
    "timed": lambda cluster: bool(_sessions(cluster)),
}
