"""What to do when an alert comes: the policy that made it, and its heading of the runbook.

The runbook that comes with distilwatch lies beside its policies, and is shown on the pages
themselves, so that nobody has to look for it elsewhere. A house that has its own names its address
in `alerts.runbook_url`; the pages then lead there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup

from transforms.alerts.paging import PACKAGED, Policy
from transforms.alerts.rules import Rules

PAGE = "runbook.md"


@dataclass(frozen=True, slots=True)
class Heading:
    """A part of the runbook.

    Attributes:
      anchor: of its heading, as policies name it.
      title: of it.
      html: below it.
    """

    anchor: str
    title: str
    html: Markup


@dataclass(frozen=True, slots=True)
class Guide:
    """What leads through a case.

    Attributes:
      policy: that made the alert, or would make one; None where it is not among the house's.
      heading: of our runbook; None where the house has its own, or none.
      url: of the house's runbook; "" where it is ours.
    """

    policy: Policy | None = None
    heading: Heading | None = None
    url: str = ""


@lru_cache(maxsize=1)
def runbook() -> Mapping[str, Heading]:
    """The parts of the runbook that comes with distilwatch, by anchor, in order."""
    text = (PACKAGED / PAGE).read_text(encoding="utf-8")
    lines, markdown = text.splitlines(), MarkdownIt("commonmark").enable("table")
    begins = [i for i, line in enumerate(lines) if line.startswith("## ")]
    found = {}
    for begin, end in zip(begins, [*begins[1:], len(lines)], strict=True):
        title = lines[begin][3:].strip()
        html = Markup(markdown.render("\n".join(lines[begin + 1 : end])))  # our own file
        found[anchor_of(title)] = Heading(anchor_of(title), title, html)
    return found


def anchor_of(title: str) -> str:
    """Of a heading, as GitHub makes it."""
    return "".join(c for c in title.lower() if c.isalnum() or c in " -").replace(" ", "-")


def guide_of(
    row: Mapping[str, Any], alerts: tuple[str, ...], rules: Rules, public_url: str = ""
) -> Guide:
    """What leads through a case.

    Args:
      row: of `flagged_clusters`.
      alerts: names of the policies of its alert's steps, the newest first.
      rules: of the house.
      public_url: of these pages.
    """
    named = next((name for name in alerts if name), "")
    policy = rules.policies.named(named)
    if policy is None and not named:  # nobody was told, so what would be told counts
        match = rules.policies.of(row)
        policy = match[0] if match else None
    if policy is None:
        return Guide()
    url = runbook_url(policy, rules.runbook_url, public_url)
    page, _, anchor = policy.runbook.partition("#")
    ours = not url and page == PAGE
    return Guide(policy, runbook().get(anchor) if ours else None, url)


def runbook_url(policy: Policy, template: str, public_url: str = "") -> str:
    """Address of a policy's runbook elsewhere; "" where it is on these pages, or is none.

    Args:
      policy: that names the page and the heading.
      template: `alerts.runbook_url`.
      public_url: of these pages.
    """
    elsewhere = template.startswith(("https://", "http://"))
    if not elsewhere or (public_url and template.startswith(f"{public_url.rstrip('/')}/")):
        return ""
    return template.format(runbook=policy.runbook, cluster_id="", alert_id="")
