"""Talks to BigQuery: one connection, every request retried while that may help, and jobs that run
once."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeVar

from schemas.errors import not_installed
from transforms.bigquery.uri import BigQueryUri

with warnings.catch_warnings():  # Google's libraries foretell the end of every Python version
    warnings.simplefilter("ignore", FutureWarning)
    try:
        import google.auth
        from google.api_core import exceptions as errors
        from google.api_core.retry import Retry
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import bigquery as api
        from google.cloud import bigquery_storage_v1 as storage
        from google.cloud.bigquery_storage_v1 import types as storage_types
    except ImportError as missing:
        raise not_installed("BigQuery", "gcp", str(missing.name)) from missing

from transforms.bigquery.refusal import (
    is_temporary,
    is_temporary_reason,
    job_failure,
    refused,
)

__all__ = ["BigQueryOptions", "Connection", "Method", "api", "errors", "in_ms", "storage_types"]

T = TypeVar("T")
Method = Literal["auto", "storage_write", "load"]
_REQUEST_S = 120.0
_ANSWER_S = 3600.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 20.0


@dataclass(frozen=True)
class BigQueryOptions:
    """How BigQuery is written and read; the defaults are those of the settings.

    Attributes:
      method: how rows get there; auto: storage_write, or load where an emulator is asked.
      create_tables: whether missing tables and columns are made.
      expire_ms: age at which a day's partition is dropped, milliseconds; 0: never; None: as it is.
      labels: of tables that are made or updated.
      retry_s: how long a request that fails is tried again, seconds.
      window_ms: length of the profile windows: a row's day lies so near that of its other versions.
    """

    method: Method = "auto"
    create_tables: bool = True
    expire_ms: int | None = 0
    labels: tuple[tuple[str, str], ...] = ()
    retry_s: float = 120.0
    window_ms: int = 28 * 86_400_000


@dataclass
class Connection:
    """A dataset, and the clients that reach it.

    Attributes:
      uri: of the dataset or table.
      options: how to write.
    """

    uri: BigQueryUri
    options: BigQueryOptions = field(default_factory=BigQueryOptions)

    def __post_init__(self) -> None:
        self.retry = Retry(
            predicate=is_temporary,
            initial=_FIRST_PAUSE_S,
            maximum=_LONGEST_PAUSE_S,
            multiplier=2.0,
            timeout=self.options.retry_s,
        )
        try:
            self._credentials: Any = (
                AnonymousCredentials()
                if self.uri.emulated
                else google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])[
                    0
                ]
            )
            self.client = self._client(None)
            self.location: str | None = None
        except Exception as error:
            raise refused(error, self.uri, "BigQuery cannot be reached") from None

    def _client(self, location: str | None) -> api.Client:
        where = {"api_endpoint": self.uri.endpoint} if self.uri.endpoint else None
        return api.Client(
            self.uri.billing,
            credentials=self._credentials,
            location=location,
            client_options=where,
        )

    @property
    def method(self) -> Method:
        """How rows get there: storage_write or load."""
        if self.options.method != "auto":
            return self.options.method
        return "load" if self.uri.emulated else "storage_write"

    def locate(self) -> None:
        """Finds where the dataset is, which jobs must know.

        Raises:
          google.api_core.exceptions.NotFound: there is no such dataset.
        """
        if self.location is None:
            dataset = self.call(self.client.get_dataset, self.uri.dataset_id)
            self.location = dataset.location or ""
            if self.location:
                self.client = self._client(self.location)

    def call(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """One request, retried with growing pauses while it fails for a passing reason."""
        return function(*arguments, retry=self.retry, timeout=_REQUEST_S, **named)

    def job(self, start: Callable[[str], Any], name: str) -> Any:
        """Runs a job once, and again only when it failed for a passing reason.

        The job's id is chosen here. When the answer to a request was lost and it is sent again,
        BigQuery says that there is such a job, and that one is waited for.

        Args:
          start: begins a job of an id; must raise Conflict when there is one.
          name: unused by any other job.

        Returns:
          The finished job, without error.

        Raises:
          google.api_core.exceptions.GoogleAPICallError: the job failed.
        """
        deadline = time.monotonic() + self.options.retry_s
        pause = _FIRST_PAUSE_S
        for attempt in range(1_000):
            job_id = f"{name}-{attempt}"
            job = self.retry(self._started)(start, job_id)
            job = self._finished(job)
            if not job.error_result:
                return job
            reason = str(job.error_result.get("reason", ""))
            if not is_temporary_reason(reason) or time.monotonic() > deadline:
                raise job_failure(job.error_result, job.errors)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        raise AssertionError

    def _started(self, start: Callable[[str], Any], job_id: str) -> Any:
        try:
            return start(job_id)
        except errors.Conflict:
            return self.client.get_job(job_id, location=self.location or None, timeout=_REQUEST_S)

    def _finished(self, job: Any) -> Any:
        pause = 0.05
        while job.state != "DONE":
            time.sleep(pause)
            pause = min(1.5 * pause, 2.0)
            job = self.call(self.client.get_job, job.job_id, location=job.location)
        return job

    def query(
        self,
        sql: str,
        name: str,
        parameters: Sequence[api.ScalarQueryParameter | api.ArrayQueryParameter] = (),
        dataset: str = "",
    ) -> Any:
        """Runs a statement as a job; see `job`.

        Args:
          sql: the statement.
          name: unused by any other job.
          parameters: that it names.
          dataset: `project.dataset` in which tables are that are named alone; "" for none.
        """
        config = api.QueryJobConfig(query_parameters=list(parameters), labels=self.labels())
        if dataset:
            config.default_dataset = dataset
        return self.job(
            lambda job_id: self.client.query(
                sql,
                job_config=config,
                job_id=job_id,
                retry=None,  # type: ignore[arg-type]
                job_retry=None,
                timeout=_REQUEST_S,
            ),
            name,
        )

    def answer(
        self,
        sql: str,
        name: str,
        parameters: Sequence[api.ScalarQueryParameter | api.ArrayQueryParameter] = (),
        dataset: str = "",
    ) -> Any:
        """Rows of a query, as google-cloud-bigquery gives them; see `query`."""
        job = self.query(sql, name, parameters, dataset)
        return job.result(retry=self.retry, timeout=_ANSWER_S, job_retry=None)

    def labels(self) -> dict[str, str]:
        """Of jobs: who made them."""
        return {"application": "distilwatch", **dict(self.options.labels)}

    def writer(self) -> storage.BigQueryWriteClient:
        """A client of the Storage Write API."""
        from google.cloud.bigquery_storage_v1.services.big_query_write.transports import (
            BigQueryWriteGrpcTransport,
        )

        if self.uri.storage_endpoint:
            channel = _channel(self.uri.storage_endpoint)
            return storage.BigQueryWriteClient(
                transport=BigQueryWriteGrpcTransport(channel=channel)
            )
        return storage.BigQueryWriteClient(credentials=self._credentials)

    def reader(self) -> storage.BigQueryReadClient:
        """A client of the Storage Read API."""
        from google.cloud.bigquery_storage_v1.services.big_query_read.transports import (
            BigQueryReadGrpcTransport,
        )

        if self.uri.storage_endpoint:
            channel = _channel(self.uri.storage_endpoint)
            return storage.BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))
        return storage.BigQueryReadClient(credentials=self._credentials)


def in_ms(rows: Iterable[api.Row]) -> list[dict[str, Any]]:
    """Rows of an answer with times in milliseconds UTC, as rows are made."""
    return [
        {
            name: round(value.timestamp() * 1000) if isinstance(value, datetime) else value
            for name, value in row.items()
        }
        for row in rows
    ]


def _channel(address: str) -> Any:
    import grpc

    size = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    return grpc.insecure_channel(address, options=size)
