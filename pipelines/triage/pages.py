"""Pages as HTML, and the files that they load."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from pipelines.report import charts
from pipelines.report.render import environment, stylesheet
from pipelines.report.story import SEVERITIES, TACTICS, Member
from pipelines.triage import csrf
from pipelines.triage.case import MOST_MEMBERS, Case
from pipelines.triage.decisions import DONE, mark_of, may_undo
from pipelines.triage.graph import MOST_ACCOUNTS, MOST_THINGS, kind_class
from pipelines.triage.hand_overs import MOST as MOST_HAND_OVERS
from pipelines.triage.states import STATES
from transforms.alerts.dispositions import HOLDS_DAYS
from transforms.alerts.wording import IN_HAND

LANES = 24
_MOST_STEPS = 12  # of alerts
_MOST_PARTS = 6  # groups of accounts
_MOST_UNTOLD = 4  # messages
THEMES = ("auto", "light", "dark")
_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}


@lru_cache(maxsize=1)
def assets() -> Mapping[str, tuple[bytes, str]]:
    """Files that pages load, by name, with their media type; ours, and no others."""
    folder = files("pipelines.triage").joinpath("static")
    css = stylesheet() + folder.joinpath("triage.css").read_text("utf-8")
    script = folder.joinpath("triage.js").read_text("utf-8")
    return {
        "triage.css": (css.encode(), _TYPES["css"]),
        "triage.js": (script.encode(), _TYPES["js"]),
    }


@lru_cache(maxsize=8)
def asset(name: str) -> str:
    """Address of a file, which changes with what is in it, so that browsers may keep it."""
    mark = hashlib.sha256(assets()[name][0]).hexdigest()[:12]
    return f"/static/{name}?{mark}"


@lru_cache(maxsize=1)
def templates() -> Environment:
    """All templates, with what they call."""
    made = environment("pipelines.triage")
    made.filters["date"] = lambda ms: charts.time_text(ms)[:10]
    made.filters["ago"] = ago
    made.filters["ties"] = ties
    made.filters["heading"] = heading
    made.globals.update(
        asset=asset,
        severities=SEVERITIES,
        tactics_words=TACTICS,
        states=STATES,
        done=DONE,
        holds_days=HOLDS_DAYS,
        lanes=LANES,
        most_members=MOST_MEMBERS,
        most_accounts=MOST_ACCOUNTS,
        most_things=MOST_THINGS,
        most_hand_overs=MOST_HAND_OVERS,
        most_steps=_MOST_STEPS,
        most_parts=_MOST_PARTS,
        most_untold=_MOST_UNTOLD,
        kind_class=kind_class,
        hand_over_marks=hand_over_marks,
        ago=ago,
        in_hand=IN_HAND,
        may_undo=may_undo,
        mark_of=mark_of,
        beyond=_beyond,
        address=lambda path, **q: f"{path}?{urlencode({k: v for k, v in q.items() if v})}",
    )
    return made


def _beyond(members: Sequence[Member], marked: Collection[str]) -> list[str]:
    """Accounts that are marked, and of which the page shows no box."""
    wanted = set(marked)
    return [member.account for member in members[MOST_MEMBERS:] if member.account in wanted]


def page(request: Request, name: str, status: int = 200, **context: Any) -> HTMLResponse:
    """A page for the person who asks."""
    theme = request.cookies.get("theme", "auto")
    body = templates().get_template(name).render(
        person=getattr(request.state, "person", None),
        theme=theme if theme in THEMES else "auto",
        csrf=csrf.token_of(request),
        path=request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        **context,
    )  # fmt: skip
    return HTMLResponse(body, status)


def case_file(case: Case, source: str) -> str:
    """The case as one HTML file that needs nothing else.

    Args:
      case: to tell.
      source: name of the tables.
    """
    css = stylesheet() + assets_css()
    return templates().get_template("case_file.html.j2").render(
        case=case, css=Markup(css), source=source, written=int(time.time() * 1000)
    )  # fmt: skip


def assets_css() -> str:
    """The look of the triage pages, without what reports have, too."""
    return files("pipelines.triage").joinpath("static").joinpath("triage.css").read_text("utf-8")


def hand_over_marks(case: Case) -> Markup | None:
    """Arrowheads above the time axis; None without hand-overs."""
    found = case.told.hand_overs
    sessions = [s for m in case.told.cluster.members for s in m.sessions]
    if not found or not sessions:
        return None
    start, end = min(s.start_ms for s in sessions), max(s.end_ms for s in sessions)
    times = "one hand-over" if len(found) == 1 else f"{len(found)} hand-overs"
    return charts.marks([h.at_ms for h in found], start, end, f"Over time: {times}")


_SHORT = {
    "payment": "payment",
    "prefix_scaffold": "wording before",
    "suffix_scaffold": "wording after",
    "opening_sentence": "sentence before",
    "closing_sentence": "sentence after",
    "system_prompt": "system prompt",
    "content": "what is asked",
    "synchrony": "same minutes",
    "hand_over": "hand-over",
}


def ties(member: Member) -> list[tuple[str, int]]:
    """What an account shares, in a word each, with how many accounts share the strongest."""
    found: dict[str, int] = {}
    for thing in member.shared:
        found.setdefault(_SHORT.get(thing.kind, thing.kind.replace("_", " ")), thing.accounts)
    return list(found.items())


def heading(runbook: str) -> str:
    """A place in a runbook as people read it."""
    place = runbook.rpartition("#")[2].replace("-", " ")
    return f"{place[:1].upper()}{place[1:]}"


def ago(seconds: float) -> str:
    """How long ago a time was."""
    gone = max(time.time() - seconds, 0)
    if gone < 1.5:
        return "just now"
    if gone < 90:
        return f"{gone:.0f} seconds ago"
    if gone < 5_400:
        return f"{gone / 60:.0f} minutes ago"
    hours = gone / 3_600
    return f"{hours:.0f} hours ago" if hours < 48 else f"{hours / 24:.0f} days ago"
