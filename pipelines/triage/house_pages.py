"""Pages that are about no single case: policies, what stays quiet, messages, the runbook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pipelines.triage import csrf
from pipelines.triage.handlers import Triage
from pipelines.triage.house import House
from pipelines.triage.pages import page
from pipelines.triage.queue import now_of
from pipelines.triage.runbook import PAGE, runbook, runbook_url
from transforms.alerts.book import Book
from transforms.alerts.dispositions import QUIETING, holding
from transforms.alerts.outbox import Message

_WEEKS_SHOWN = 26
_QUIET_SHOWN = 200
_MESSAGES_SHOWN = 100


def together(messages: Sequence[Message]) -> list[tuple[Message, list[str]]]:
    """Messages in their order, those of one step that fared alike as one, with their channels."""
    found: dict[tuple[object, ...], tuple[Message, list[str]]] = {}
    for one in messages:
        step = one.key.rpartition("/")[0]
        alike = step, one.notice.get("title"), one.state, one.attempts, one.not_before, one.error
        found.setdefault(alike, (one, []))[1].append(one.channel)
    return [(first, sorted(channels)) for first, channels in found.values()]


@dataclass(frozen=True)
class HousePages:
    """See the module.

    Attributes:
      triage: what all pages are made from.
      house: that they are about.
    """

    triage: Triage
    house: House

    def show_policies(self, request: Request) -> Response:
        weeks = self.triage.store.precision()
        now = self.house.in_force
        rules = now.rules
        found: dict[str, list[Mapping[str, Any]]] = {
            policy.name: [] for policy in rules.policies.policies
        }
        for row in sorted(weeks or (), key=lambda row: row["policy"]):  # a policy's stay in order
            found.setdefault(row["policy"], []).append(row)
        own = {policy.name: policy for policy in rules.policies.policies}
        return page(
            request,
            "policies.html.j2",
            now=now,
            there=weeks is not None,
            by_policy=sorted(found.items(), key=lambda item: (not item[1], item[0])),
            policies=own,
            links={
                name: runbook_url(policy, rules.runbook_url, self.triage.config.public_url)
                for name, policy in own.items()
            },
            channels={
                name: rules.channels.of(policy.audience, policy.severity.at_most)
                for name, policy in own.items()
            },
            most=_WEEKS_SHOWN,
            source=self.triage.store.name,
        )

    def show_quiet(self, request: Request) -> Response:
        self.triage.queue.refresh()
        now = self.house.in_force
        decisions = self.triage.queue.decisions
        now_ms = now_of(decisions)
        held = [d for d in holding(decisions, now_ms) if d.decision in (*QUIETING, "merge")]
        held.sort(key=lambda d: (d.valid_until is None, d.valid_until or 0, d.decided_at))
        allowed = sorted(now.rules.allowlist.allow, key=lambda entry: entry.expires)
        return page(
            request,
            "quiet.html.j2",
            now=now,
            held=held[:_QUIET_SHOWN],
            all_held=len(held),
            allowed=[(e, now_ms >= e.expires.timestamp() * 1000) for e in allowed],
            hours=now.rules.channels.quiet_hours,
            growth=now.rules.growth,
        )

    def show_messages(self, request: Request) -> Response:
        path = self.house.book
        if path is None or not path.is_file():
            return page(request, "messages.html.j2", there=False, counts={}, messages=())
        with Book(path) as book:
            counts = book.outbox.counts()
            waiting = book.outbox.messages(["dead", "pending"], _MESSAGES_SHOWN)
            others = book.outbox.messages(["sent", "dropped"], _MESSAGES_SHOWN)
        return page(
            request,
            "messages.html.j2",
            there=True,
            counts=counts,
            messages=(together(waiting), together(others)),
            most=_MESSAGES_SHOWN,
        )

    async def replay(self, request: Request) -> Response:
        form = await request.form(max_files=0)
        return await run_in_threadpool(self._replay, request, form.get(csrf.FIELD))

    def _replay(self, request: Request, token: object) -> Response:
        stop = self.triage.check_form(request, token, "responder")
        if stop:
            return stop
        path = self.house.book
        if path is None or not path.is_file():
            raise HTTPException(404, "there are no messages on this machine")
        with Book(path) as book:
            dead = book.outbox.counts().get("dead", 0)
            with self.triage.noted(request, "messages tried again", messages=dead):
                book.outbox.replay([], now_of(()))  # drops what was overtaken
        return RedirectResponse("/messages", 303)

    def show_runbook(self, request: Request) -> Response:
        if request.path_params.get("page", PAGE) != PAGE:
            raise HTTPException(404, "there is no such runbook on these pages")
        return page(request, "runbook.html.j2", parts=runbook().values())
