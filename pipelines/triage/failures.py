"""Pages for what went wrong, each with what to do."""

from __future__ import annotations

from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pipelines.triage.auth import Refused
from pipelines.triage.gate import error_page
from pipelines.triage.store import Busy
from schemas.errors import DistilwatchError


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = {404: "there is nothing at this address", 405: "that cannot be asked for like this"}
    named = error.detail if error.detail not in ("Not Found", "Method Not Allowed") else ""
    # Where there is more to say than the link to the queue, it follows after a line break.
    named, _, mend = (named or what.get(error.status_code, "")).partition("\n")
    answer = error_page(request, error.status_code, named, mend)
    answer.headers.update(error.headers or {})
    return answer


def _busy(request: Request, error: Exception) -> Response:
    assert isinstance(error, Busy)
    answer = error_page(request, 503, error.what, error.mend)
    answer.headers["Retry-After"] = "2"
    return answer


def _our_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DistilwatchError)
    return error_page(request, 500, error.what, error.mend)


def _refused(request: Request, error: Exception) -> Response:
    return error_page(request, 403, str(error), "try again, or ask whoever runs these pages")


def _unexpected(request: Request, error: Exception) -> Response:
    return error_page(
        request, 500, "something went wrong that should not have",
        "the log of `distilwatch triage` says what; please report it",
    )  # fmt: skip


FAILURES: dict[type[Exception], Callable[[Request, Exception], Response]] = {
    HTTPException: _http_error,
    Busy: _busy,
    DistilwatchError: _our_error,
    Refused: _refused,
    Exception: _unexpected,
}
