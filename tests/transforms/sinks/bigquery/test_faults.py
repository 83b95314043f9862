"""Bad days through a proxy before the emulator: no answer, quotas, lost answers, missing rights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from infra.local.bigquery_emulator import BigQueryEmulator
from infra.local.services import free_ports
from schemas.errors import DistilwatchError
from tests.support.bigquery import Dataset, new_dataset
from tests.support.faulty_proxy import FaultyProxy
from tests.transforms.sinks.bigquery.rows import counts, sessions
from transforms.bigquery.client import BigQueryOptions
from transforms.sinks.bigquery.check import check_bigquery
from transforms.sinks.bigquery.write import BigQuerySink

pytestmark = pytest.mark.bigquery
_JOBS = r"/bigquery/v2/projects/[^/]+/jobs"
_UPLOAD = r"/upload/bigquery/v2/projects/[^/]+/jobs"
_TABLES = r"/bigquery/v2/projects/[^/]+/datasets/[^/]+/tables"


@pytest.fixture
def dataset(bigquery: BigQueryEmulator) -> Dataset:
    return new_dataset(bigquery)


@pytest.fixture
def proxy(bigquery: BigQueryEmulator) -> Iterator[FaultyProxy]:
    with FaultyProxy(bigquery.rest) as proxy:
        yield proxy


def sink(dataset: Dataset, proxy: FaultyProxy, retry_s: float = 60.0) -> BigQuerySink:
    options = BigQueryOptions(retry_s=retry_s)
    return BigQuerySink(dataset.at(proxy.address), "run-1", options)


def write(dataset: Dataset, proxy: FaultyProxy, **options: Any) -> None:
    sink(dataset, proxy, **options).write(
        {"session_scores": sessions(20), "run_health": counts(read=20)}
    )


PASSING = [
    {"status": 503},
    {"status": 502, "reason": "badGateway"},
    {"status": 429, "reason": "rateLimitExceeded"},
    {"status": 403, "reason": "rateLimitExceeded"},
    {"status": 403, "reason": "quotaExceeded"},
    {"cut": "before"},
    {"cut": "after"},
]
PLACES = [
    ("GET", r"/bigquery/v2/projects/[^/]+/datasets/[^/]+"),
    ("GET", _TABLES + "/session_scores"),
    ("POST", _TABLES),
    ("POST", _UPLOAD),
    ("PUT", _UPLOAD + r".*"),
    ("POST", _JOBS),
]


@pytest.mark.parametrize("how", PASSING, ids=lambda how: "-".join(map(str, how.values())))
def test_what_passes_is_waited_out_and_rows_arrive_once(
    dataset: Dataset, proxy: FaultyProxy, how: dict[str, Any]
) -> None:
    faults = [proxy.fail(method, path, **how) for method, path in PLACES]
    write(dataset, proxy)
    assert [f.happened for f in faults] == [1] * len(faults)
    assert len(dataset.rows("session_scores")) == 20
    assert len(set(proxy.jobs)) == len(proxy.jobs)
    # Two tables, each with one load job and one MERGE, whatever was asked how often.
    assert len(proxy.jobs) == 4


def test_a_job_that_fails_for_a_passing_reason_runs_again_under_another_name(
    dataset: Dataset, proxy: FaultyProxy
) -> None:
    def quota(job: dict[str, Any]) -> dict[str, Any]:
        error = {"reason": "jobRateLimitExceeded", "message": "Exceeded rate limits"}
        return job | {"status": {"state": "DONE", "errorResult": error, "errors": [error]}}

    fault = proxy.fail("POST", _JOBS, change=quota)
    write(dataset, proxy)
    assert fault.happened == 1
    merges = [name for name in proxy.jobs if "merge-staging_session_scores" in name]
    assert [name[-2:] for name in merges] == ["-0", "-1"]
    assert merges[0][:-2] == merges[1][:-2]
    assert len(dataset.rows("session_scores")) == 20


def test_a_job_that_fails_for_good_says_why(dataset: Dataset, proxy: FaultyProxy) -> None:
    def broken(job: dict[str, Any]) -> dict[str, Any]:
        error = {"reason": "invalidQuery", "message": "Syntax error: unexpected MERGE"}
        return job | {"status": {"state": "DONE", "errorResult": error}}

    proxy.fail("POST", _JOBS, change=broken)
    with pytest.raises(DistilwatchError, match="Syntax error: unexpected MERGE"):
        write(dataset, proxy)


def test_rows_that_a_load_job_refuses_become_dead_letters_and_the_others_arrive(
    dataset: Dataset, proxy: FaultyProxy
) -> None:
    """The emulator takes whatever Parquet has, so the refusals are the proxy's: the first halves
    are refused down to a single row."""

    def invalid(job: dict[str, Any]) -> dict[str, Any]:
        error = {
            "reason": "invalid",
            "message": "Field score: value 'secret-4242' of 'score' is out of range",
        }
        return job | {"status": {"state": "DONE", "errorResult": error, "errors": [error]}}

    # A job that is refused must not have loaded anything, so the emulator must not see its bytes.
    proxy.refuse_loads(lambda job_id: _holds_row(job_id, 3), invalid)
    writer = sink(dataset, proxy)
    writer.write({"session_scores": sessions(8), "run_health": counts(read=8)})
    assert writer.total.as_dict() == {"sent": 9, "arrived": 8, "refused": 1}
    found = [r["session_id"] for r in dataset.rows("session_scores")]
    assert found == [f"s{i:04}" for i in range(8) if i != 3]
    [letter] = dataset.rows("dead_letters")
    assert letter["reason"] == "refused_by_bigquery"
    assert letter["source"].endswith(f"{dataset.name}/session_scores")
    assert letter["detail"] == "Field score: value … of 'score' is out of range"
    assert len(letter["raw_sha256"]) == 64
    [(refused,)] = dataset.query(
        "SELECT value FROM {d}.run_health WHERE metric = 'not_taken' AND source = 'session_scores'"
    )
    assert refused == 1


def _holds_row(job_id: str, row: int) -> bool:
    """Whether a load job's rows include one; its name ends with START-STOP-ATTEMPT."""
    if "load-staging_session_scores" not in job_id:
        return False
    start, stop, _ = job_id.rsplit("-", 3)[1:]
    return int(start) <= row < int(stop)


def test_no_answer_for_long_is_told_and_the_next_try_writes_all(
    dataset: Dataset, proxy: FaultyProxy
) -> None:
    fault = proxy.fail("POST", _JOBS, times=1_000)
    with pytest.raises(DistilwatchError, match=r"BigQuery does not answer \(try again\)"):
        write(dataset, proxy, retry_s=1.0)
    assert fault.happened > 1
    proxy.faults.clear()
    write(dataset, proxy)
    assert len(dataset.rows("session_scores")) == 20


def test_a_quota_that_stays_used_up_is_told(dataset: Dataset, proxy: FaultyProxy) -> None:
    proxy.fail(
        "POST", _JOBS, times=1_000, status=403, reason="quotaExceeded",
        message="Quota exceeded: Your project exceeded quota for concurrent queries",
    )  # fmt: skip
    with pytest.raises(DistilwatchError, match="a quota is used up") as caught:
        write(dataset, proxy, retry_s=1.0)
    assert "bigquery.commit_every" in caught.value.mend


@pytest.mark.parametrize(
    ("permission", "role"),
    [
        ("bigquery.tables.create", "roles/bigquery.dataEditor"),
        ("bigquery.tables.getData", "roles/bigquery.dataViewer"),
        ("bigquery.jobs.create", "roles/bigquery.jobUser"),
    ],
)
def test_a_missing_right_is_named_with_the_command_that_gives_it(
    dataset: Dataset, proxy: FaultyProxy, permission: str, role: str
) -> None:
    path = _TABLES if "tables" in permission else _JOBS
    proxy.fail(
        "POST", path, times=1_000, status=403, reason="accessDenied",
        message=f"Access Denied: Permission {permission} denied on resource (or it may not exist).",
    )  # fmt: skip
    with pytest.raises(DistilwatchError) as caught:
        write(dataset, proxy)
    assert f"the permission {permission} is missing" in caught.value.what
    if path == _JOBS:
        assert "gcloud projects add-iam-policy-binding test-project" in caught.value.mend
        assert f"--role={role}" in caught.value.mend
    else:  # on the dataset, and on nothing else of the project
        assert f"GRANT `{role}` ON SCHEMA `test-project`.{dataset.name}" in caught.value.mend


def test_nobody_at_the_endpoint_is_told(bigquery: BigQueryEmulator) -> None:
    [port] = free_ports(1)
    uri = f"bigquery://test-project/d?endpoint=http://127.0.0.1:{port}"
    with pytest.raises(DistilwatchError, match="BigQuery does not answer"):
        BigQuerySink(uri, "run-1", BigQueryOptions(retry_s=0.5)).write({})


def test_without_credentials_the_command_to_get_some_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in ("BIGQUERY_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(DistilwatchError) as caught:
        check_bigquery("bigquery://some-project/d")
    assert "there are no credentials" in caught.value.what
    assert "gcloud auth application-default login" in caught.value.mend
