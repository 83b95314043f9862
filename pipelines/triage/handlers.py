"""What each page shows, and what each form does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pipelines.settings.triage import TriageConfig
from pipelines.triage import csrf
from pipelines.triage.audit import AuditLog
from pipelines.triage.case import Case, Cases, held_in, history_of
from pipelines.triage.decisions import Draft, decision_of, draft_of, may_undo
from pipelines.triage.gate import address_of, error_page, path_of_ours, short_path, slow_down
from pipelines.triage.limits import Limits
from pipelines.triage.pages import THEMES, case_file, page
from pipelines.triage.people import ROLE_WORDS, Person
from pipelines.triage.queue import Queue, now_of
from pipelines.triage.queue_page import QueueFilter
from pipelines.triage.store import Store
from schemas.errors import DistilwatchError
from transforms.alerts.dispositions import WITHDRAW, Disposition

_AUDIT_SHOWN = 200
_LONGEST_SEARCH = 100
_YEAR_S = 365 * 86_400


@dataclass(frozen=True)
class Triage:
    """What pages are made from."""

    store: Store
    queue: Queue
    cases: Cases
    config: TriageConfig
    audit: AuditLog
    limits: Limits
    _deciding: Lock = field(default_factory=Lock, init=False, repr=False)

    # --- reading ---------------------------------------------------------------------------------

    def show_queue(self, request: Request) -> Response:
        self.queue.refresh()
        q = request.query_params
        wanted = QueueFilter(
            q.get("state", ""),
            q.get("severity", ""),
            q.get("tactic", ""),
            q.get("text", "").strip()[:_LONGEST_SEARCH],
        )
        shown = self.queue.page(
            wanted, self.config.page_size, q.get("after", ""), q.get("before", "")
        )
        return page(
            request,
            "queue.html.j2",
            shown=shown,
            wanted=wanted,
            tactics=self.queue.tactics,
            open=self.queue.open_by_severity,
            source=self.store.name,
        )

    def show_case(self, request: Request) -> Response:
        return self._case_page(request, self._case(request))

    def show_file(self, request: Request) -> Response:
        case = self._case(request)
        name = case.told.cluster.cluster_id
        self.audit.note("case exported", self.who(request), cluster=name, sure=True)
        safe = "".join(c for c in name if c.isalnum() or c in "-_")
        headers = {"Content-Disposition": f'attachment; filename="case-{safe}.html"'}
        body = case_file(case, self.store.name)
        return Response(body, media_type="text/html", headers=headers)

    def show_audit(self, request: Request) -> Response:
        self.need(request, "admin")
        return page(
            request,
            "audit.html.j2",
            lines=self.audit.newest(_AUDIT_SHOWN),
            most=_AUDIT_SHOWN,
            broken=self.audit.broken(),
        )

    def show_keys(self, request: Request) -> Response:
        return page(request, "keys.html.j2")

    # --- deciding --------------------------------------------------------------------------------

    async def decide(self, request: Request) -> Response:
        form = await request.form(max_files=0, max_fields=20_000)
        return await run_in_threadpool(
            self._decide, request, draft_of(form), form.get(csrf.FIELD)
        )  # fmt: skip

    def _decide(self, request: Request, draft: Draft, token: object) -> Response:
        stop = self.check_form(request, token, "responder")
        if stop:
            return stop
        case = self._case(request)
        name, person = case.told.cluster.cluster_id, request.state.person
        try:
            with self._deciding:  # of two at once the second is held against the first
                if self._held(name) != case.held:
                    self.queue.note()
                    case = self._case(request)
                made = decision_of(case.told.cluster, draft, person, self.queue, case.held)
                about = {"decision": made.decision, "disposition": made.name}
                with self.noted(request, "decided", cluster=name, **about):
                    self.store.append(made)
        except DistilwatchError as wrong:
            return self._case_page(request, case, 422, wrong=wrong, draft=draft)
        self.queue.note()
        return RedirectResponse(f"/case/{name}?done={made.name}", 303)

    def _held(self, cluster_id: str) -> tuple[Disposition, ...]:
        """Decisions that hold by the tables, where the copy in the queue may be seconds old:
        another process may have decided meanwhile."""
        rows = self.store.dispositions()
        return held_in(history_of(rows, cluster_id, now_of(rows)))

    async def undo(self, request: Request) -> Response:
        form = await request.form(max_files=0)
        name, why = str(form.get("disposition", "")), str(form.get("why", "")).strip()
        return await run_in_threadpool(self._undo, request, name, why, form.get(csrf.FIELD))

    def _undo(self, request: Request, name: str, why: str, token: object) -> Response:
        stop = self.check_form(request, token, "responder")
        if stop:
            return stop
        case = self._case(request)
        cluster, person = case.told.cluster, request.state.person
        rows = [p.row for p in case.history if p.row.name == name]
        if not rows:
            raise HTTPException(404, "there is no such decision on this cluster")
        original = min(rows, key=lambda row: row.revision)
        if not may_undo(original, person):
            self.audit.note(
                "undo refused", person.name, cluster=cluster.cluster_id, disposition=name,
                address=address_of(request),
            )  # fmt: skip
            raise HTTPException(403, f"{original.decided_by} decided that; an admin can undo it")
        try:
            with self.noted(request, "undone", cluster=cluster.cluster_id, disposition=name):
                self.store.withdraw(name, person.name, why or "undone", "triage")
        except DistilwatchError as wrong:
            self.queue.note()
            return self._case_page(request, self._case(request), 409, wrong=wrong)
        self.queue.note()
        return RedirectResponse(f"/case/{cluster.cluster_id}?done={name}", 303)

    # --- the rest --------------------------------------------------------------------------------

    async def set_theme(self, request: Request) -> Response:
        form = await request.form(max_files=0)
        stop = self.check_form(request, form.get(csrf.FIELD), "viewer")
        if stop:
            return stop
        answer = RedirectResponse(path_of_ours(str(form.get("back", "/"))), 303)
        theme = form.get("theme")
        if theme in THEMES:
            secure = self.config.public_url.startswith("https:")
            answer.set_cookie(
                "theme", str(theme), _YEAR_S, httponly=True, secure=secure, samesite="lax"
            )
        return answer

    async def sign_out(self, request: Request) -> Response:
        form = await request.form(max_files=0)
        stop = self.check_form(request, form.get(csrf.FIELD), "viewer")
        if stop:
            return stop
        self.audit.note("signed out", self.who(request))
        request.session.clear()
        return RedirectResponse("/sign-in?out=1", 303)

    def _case(self, request: Request) -> Case:
        self.queue.refresh()
        case = self.cases.get(request.path_params["cluster_id"])
        if case is None:
            raise HTTPException(
                404,
                "there is no such cluster\na later run may have given it another name: look in the "
                "queue for one of its accounts, with state “any”",
            )
        return case

    def _case_page(
        self,
        request: Request,
        case: Case,
        status: int = 200,
        wrong: DistilwatchError | None = None,
        draft: Draft | None = None,
    ) -> Response:
        # Here, so that nobody is shown a case without a line, not even with a form that comes back.
        self.audit.note("case seen", self.who(request), cluster=case.told.cluster.cluster_id)
        name = request.query_params.get("done", "") if wrong is None else ""
        done = next((p for p in case.history if name and p.row.name == name), None)
        return page(
            request,
            "case.html.j2",
            status,
            case=case,
            wrong=wrong,
            draft=draft or _marked(case, request.query_params.get("mark", "")),
            just_done=done,
            source=self.store.name,
            withdrawn=WITHDRAW,
        )

    def check_form(self, request: Request, token: object, role: str) -> Response | None:
        """What stops a form; None when it may go on."""
        if not csrf.is_ours(request, token, self.config.public_url):
            self.audit.note("form refused", self.who(request), path=short_path(request))
            return error_page(
                request, 403, "this form is not from a page of ours, or it is too old",
                "go back, load the page anew, and send it again",
            )  # fmt: skip
        self.need(request, role)
        wait = self.limits.wait("decision", self.who(request)) if role == "responder" else 0
        return slow_down(request, wait) if wait else None

    def need(self, request: Request, role: str) -> None:
        """Raises HTTPException unless the person has a role."""
        person: Person = request.state.person
        if not person.may(role):
            self.audit.note("not allowed", person.name, path=short_path(request), role=person.role)
            raise HTTPException(
                403, f"this is for {ROLE_WORDS[role]}; you are {ROLE_WORDS[person.role]}"
            )

    @contextmanager
    def noted(self, request: Request, what: str, **more: Any) -> Iterator[None]:
        """Notes what is about to be done, on the disk before it is, and that it was not when it
        fails.

        Raises:
          DistilwatchError: it cannot be noted; then nothing is done.
        """
        person: Person = request.state.person
        self.audit.note(
            what, person.name, sure=True, **more, role=person.role, address=address_of(request)
        )
        try:
            yield
        except DistilwatchError:
            self.audit.note(f"not {what}", person.name, **more)
            raise

    @staticmethod
    def who(request: Request) -> str:
        """The person's name."""
        person: Person = request.state.person
        return person.name


def _marked(case: Case, number: str) -> Draft:
    """A form in which a group of accounts is marked, by its number from 1."""
    parts = case.told.graph.parts
    digits = number.isascii() and number.isdigit() and len(number) < 6
    known = digits and 1 <= int(number) <= len(parts)
    return Draft(accounts=parts[int(number) - 1]) if known else Draft()
