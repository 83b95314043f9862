"""Why BigQuery refuses, in words: what is missing, and the command that gives it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth

from schemas.errors import DistilwatchError
from transforms.bigquery.uri import BigQueryUri

_TEMPORARY = (
    api.ServiceUnavailable,
    api.BadGateway,
    api.GatewayTimeout,
    api.InternalServerError,
    api.TooManyRequests,
    api.Aborted,
    api.DeadlineExceeded,
    api.Unknown,
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    auth.TransportError,
    ConnectionError,
)
# Most of BigQuery's quotas fill up again within seconds or minutes.
_PASSING_REASONS = (
    "rateLimitExceeded", "jobRateLimitExceeded", "quotaExceeded", "backendError",
    "jobBackendError", "internalError", "jobInternalError", "tableUnavailable",
)  # fmt: skip
_LESS = "ask for less at a time: fewer days (--since, or ?start=…&end=…), or fewer tables"
_MENDS = {
    "responseTooLarge": _LESS,
    "resourcesExceeded": _LESS,
    "timeout": "ask for less at a time, or run it again when the project is less busy",
    "stopped": "somebody has cancelled the job; run it again",
    "blocked": "BigQuery takes no such requests for a while; wait some minutes, run it again, and "
    "ask Google's support where it stays so",
    "invalidQuery": "tables or views may be of another version: `distilwatch detect` adds columns "
    "that tables lack, `distilwatch tables views` makes the views anew",
    "duplicate": "somebody else made it in the same moment; run it again",
    "resourceInUse": "others are changing it just now; run it again",
}
_PERMISSION = re.compile(r"\bbigquery\.[a-zA-Z]+\.[a-zA-Z]+\b")
_TO_READ = {
    f"bigquery.{what}"
    for what in ("datasets.get", "tables.get", "tables.getData", "tables.list", "tables.export")
}
_JOB_ROLES = {
    "bigquery.jobs": "roles/bigquery.jobUser",
    "bigquery.readsessions": "roles/bigquery.readSessionUser",
}


def reason_of(error: BaseException) -> str:
    """BigQuery's own word for an error; "" where it gives none."""
    details = getattr(error, "errors", None) or []
    first = details[0] if details else {}
    return str(first.get("reason", "")) if isinstance(first, dict) else ""


def is_temporary(error: BaseException) -> bool:
    """Whether the same request may do later."""
    if isinstance(error, api.Forbidden | api.BadRequest):
        return reason_of(error) in _PASSING_REASONS
    return isinstance(error, _TEMPORARY)


def is_temporary_reason(reason: str) -> bool:
    """The same, of the reason of a job that failed."""
    return reason in _PASSING_REASONS


_STATUS = {"accessDenied": 403, "notFound": 404, "duplicate": 409, "responseTooLarge": 403}


def job_failure(result: Mapping[str, Any], details: Sequence[Mapping[str, Any]] | None) -> Any:
    """The error of a job that failed, as the same failure of a request would be.

    Args:
      result: the job's `errorResult`.
      details: the job's `errors`.
    """
    reason = str(result.get("reason", ""))
    status = _STATUS.get(reason, 403 if reason in _PASSING_REASONS else 400)
    listed = [dict(result), *(dict(d) for d in details or () if d != result)]
    return api.from_http_status(status, str(result.get("message", reason)), errors=listed)


def refused(error: BaseException, uri: BigQueryUri, doing: str) -> DistilwatchError:
    """An error of Google's libraries as one for people.

    Args:
      error: as it was raised.
      uri: what was asked for.
      doing: in words, such as "rows cannot be written".
    """
    if isinstance(error, DistilwatchError):
        return error
    if isinstance(error, api.RetryError) and error.cause is not None:
        error = error.cause
    if isinstance(error, auth.DefaultCredentialsError):
        return DistilwatchError(
            f"{doing}: there are no credentials for Google Cloud",
            uri.place,
            "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS",
        )
    if isinstance(error, auth.GoogleAuthError) and not isinstance(error, auth.TransportError):
        return DistilwatchError(
            f"{doing}: the credentials for Google Cloud are not accepted",
            uri.place,
            "run `gcloud auth application-default login` again",
        )
    said = _said(error)
    if isinstance(error, api.Unauthorized):
        return DistilwatchError(
            f"{doing}: the credentials for Google Cloud are not accepted",
            uri.place,
            "run `gcloud auth application-default login` again",
        )
    if mend := _MENDS.get(reason_of(error)):
        return DistilwatchError(f"{doing}: {said or type(error).__name__}", uri.place, mend)
    if isinstance(error, api.Forbidden) and not is_temporary(error):
        return _forbidden(error, said, uri, doing)
    if isinstance(error, api.NotFound):
        return _not_found(said, uri, doing)
    if is_temporary(error):
        quota = "uota" in said or "ate limit" in said or reason_of(error) in _PASSING_REASONS[:3]
        return DistilwatchError(
            f"{doing}: {'a quota is used up' if quota else 'BigQuery does not answer'} "
            f"({said or type(error).__name__})",
            uri.endpoint or uri.place,
            "look at the project's quotas, or write less often (bigquery.commit_every)"
            if quota
            else "check the network and https://status.cloud.google.com; what waits is kept",
        )
    return DistilwatchError(
        f"{doing}: {said or type(error).__name__}",
        uri.place,
        f"run it again; where it stays so, see why: bq ls -j -n 10 {uri.billing}, then "
        f"bq show --format=prettyjson -j JOB"
        if isinstance(error, api.GoogleAPIError)
        else "look at the message; where it is a fault of this program, report it with its version",
    )


def _said(error: BaseException) -> str:
    text = str(getattr(error, "message", "") or error)
    # The library puts the request before what the server said.
    text = re.sub(r"^(GET|POST|PUT|PATCH|DELETE) \S+: ", "", text).strip()
    return text.splitlines()[0][:500] if text else ""


def _forbidden(error: Any, said: str, uri: BigQueryUri, doing: str) -> DistilwatchError:
    if "illing" in said:
        return DistilwatchError(
            f"{doing}: {said}",
            uri.place,
            f"link a billing account: gcloud billing projects link {uri.billing} "
            "--billing-account=ACCOUNT",
        )
    found = _PERMISSION.search(said)
    permission = found.group() if found else ""
    kind = ".".join(permission.split(".")[:2])
    what = f"{doing}: {f'the permission {permission} is missing' if permission else said}"
    if kind in _JOB_ROLES:
        return DistilwatchError(
            what,
            uri.place,
            f"gcloud projects add-iam-policy-binding {uri.billing} --member=serviceAccount:NAME "
            f"--role={_JOB_ROLES[kind]}",
        )
    # On the dataset, not on all of the project's.
    role = "dataViewer" if permission in _TO_READ else "dataEditor"
    return DistilwatchError(
        what,
        uri.place,
        f"bq query --use_legacy_sql=false 'GRANT `roles/bigquery.{role}` ON SCHEMA "
        f'`{uri.project}`.{uri.dataset} TO "serviceAccount:NAME"\''
        + ("; where it is an output, dataEditor" if role == "dataViewer" else ""),
    )


def _not_found(said: str, uri: BigQueryUri, doing: str) -> DistilwatchError:
    lower = said.lower()
    if "dataset" in lower and "table" not in lower.split("dataset")[0]:
        return DistilwatchError(
            f"{doing}: there is no dataset {uri.dataset_id}",
            uri.place,
            f"make it, where your data may be: bq --location=EU mk --dataset "
            f"{uri.project}:{uri.dataset}",
        )
    if "project" in lower and "table" not in lower:
        return DistilwatchError(
            f"{doing}: there is no project {uri.project}, or it may not be seen",
            uri.place,
            "check the name: gcloud projects list",
        )
    return DistilwatchError(
        f"{doing}: {said}", uri.place, f"look what is there: bq ls {uri.project}:{uri.dataset}"
    )
