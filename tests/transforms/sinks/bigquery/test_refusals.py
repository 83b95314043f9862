"""Whatever BigQuery refuses, people are told what to do about it."""

from __future__ import annotations

import pyarrow as pa
import pytest
from google.api_core import exceptions as api

from transforms.bigquery import parse_bigquery_uri
from transforms.bigquery.refusal import job_failure, refused

URI = parse_bigquery_uri("bigquery://test-project/d?billing=who-pays")
_REASONS = (
    "responseTooLarge", "resourcesExceeded", "timeout", "stopped", "blocked", "invalidQuery",
    "duplicate", "resourceInUse", "invalid", "notImplemented", "somethingNew",
)  # fmt: skip


@pytest.mark.parametrize("reason", _REASONS)
def test_a_job_that_failed_says_what_to_do(reason: str) -> None:
    told = refused(job_failure({"reason": reason, "message": "no"}, None), URI, "rows cannot be")
    assert "rows cannot be: no" in told.what
    assert told.mend
    assert "add-iam-policy-binding" not in told.mend  # nobody lacks a right


def test_an_answer_that_is_too_large_asks_for_less() -> None:
    error = api.Forbidden("too large", errors=[{"reason": "responseTooLarge"}])
    assert "fewer days" in refused(error, URI, "the tables cannot be read").mend


def test_what_nobody_knows_names_the_command_that_shows_the_job() -> None:
    mend = refused(api.BadRequest("odd"), URI, "the tables cannot be read").mend
    assert "bq ls -j -n 10 who-pays" in mend


def test_a_fault_of_our_own_is_no_fault_of_bigquery() -> None:
    told = refused(pa.ArrowInvalid("lists of unequal length"), URI, "the tables cannot be read")
    assert "lists of unequal length" in told.what
    assert "report it" in told.mend
