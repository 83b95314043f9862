"""Rows into a passing table over the Storage Write API, exactly once.

A pending stream takes rows at offsets that we choose, so that one sent twice is there once, and
shows nothing before it is committed as a whole.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.errors import DistilwatchError
from transforms.bigquery.client import Connection, errors
from transforms.bigquery.client import storage_types as types
from transforms.bigquery.refusal import is_temporary
from transforms.sinks.bigquery.stage import Staged

# A request may have 20 MB, in older versions of the service 10.
APPEND_BYTES = 7 << 20
_MICROS, _MILLIS = pa.timestamp("us", "UTC"), pa.timestamp("ms", "UTC")
_APPEND_S = 300.0
# Codes of google.rpc.Status
_OK, _ALREADY_EXISTS, _OUT_OF_RANGE = 0, 6, 11
_AGAIN = (4, 8, 10, 13, 14)  # deadline, resources, aborted, internal, unavailable


def stream_rows(connection: Connection, name: str, rows: pa.Table) -> Staged:
    """Puts rows into a table through a pending stream; all of them are there at the end.

    Args:
      name: of the table, in the connection's dataset.
      rows: Arrow; times in milliseconds.

    Raises:
      google.api_core.exceptions.GoogleAPICallError: BigQuery refuses.
    """
    uri = connection.uri
    parent = f"projects/{uri.project}/datasets/{uri.dataset}/tables/{name}"
    client = connection.writer()
    try:
        stream = connection.retry(client.create_write_stream)(
            parent=parent,
            write_stream=types.WriteStream(type_=types.WriteStream.Type.PENDING),
            retry=None,
            timeout=60,
        )
        staged = _Appender(connection, client, stream.name).append(_in_micros(rows))
        final = connection.retry(client.finalize_write_stream)(
            name=stream.name, retry=None, timeout=60
        )
        if final.row_count != staged.rows:
            raise DistilwatchError(
                f"{staged.rows:,} rows were sent, and the stream has {final.row_count:,}",
                uri.place,
                "run again; nothing of this stream is in the tables",
            )
        if staged.rows:
            connection.retry(_commit)(client, parent, stream.name)
        return staged
    finally:
        client.transport.close()


def _commit(client: Any, parent: str, stream: str) -> None:
    request = types.BatchCommitWriteStreamsRequest(parent=parent, write_streams=[stream])
    answer = client.batch_commit_write_streams(request, retry=None, timeout=60)
    committed = types.StorageError.StorageErrorCode.STREAM_ALREADY_COMMITTED
    wrong = [e for e in answer.stream_errors if e.code != committed]
    if wrong:  # the answer to the commit before was lost where it is committed already
        raise errors.FailedPrecondition(f"{wrong[0].code.name}: {wrong[0].error_message}")


def _in_micros(rows: pa.Table) -> pa.Table:
    """BigQuery counts times in microseconds."""
    fields = [
        f.remove_metadata().with_type(_MICROS) if f.type == _MILLIS else f.remove_metadata()
        for f in rows.schema
    ]
    return rows.cast(pa.schema(fields))


class _Appender:
    """Appends to one stream, over one connection at a time."""

    def __init__(self, connection: Connection, client: Any, stream: str) -> None:
        self._connection, self._client, self._stream = connection, client, stream
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._answers: Iterator[Any] | None = None

    def append(self, rows: pa.Table) -> Staged:
        staged = Staged()
        schema = rows.schema.serialize().to_pybytes()
        try:
            for start, part in pieces(rows, APPEND_BYTES):
                index = np.arange(start, start + part.num_rows)
                while part.num_rows:
                    answer = self._send(schema, part, staged.rows)
                    bad = {e.index: e.message for e in answer.row_errors}
                    if not bad:
                        staged.rows += part.num_rows
                        break
                    # None of the request's rows was taken; the others go again.
                    staged.refused += [(int(index[i]), bad[i]) for i in sorted(bad)]
                    keep = np.setdiff1d(np.arange(part.num_rows), list(bad))
                    part, index = part.take(pa.array(keep)), index[keep]
        finally:
            self._hang_up()
        return staged

    def _send(self, schema: bytes, part: pa.Table, offset: int) -> Any:
        """The answer to one append, which succeeded or names bad rows."""
        request = types.AppendRowsRequest(
            write_stream=self._stream,
            offset=offset,
            trace_id="distilwatch",
            arrow_rows=types.AppendRowsRequest.ArrowData(
                writer_schema=types.ArrowSchema(serialized_schema=schema),
                rows=types.ArrowRecordBatch(
                    serialized_record_batch=part.combine_chunks()
                    .to_batches()[0]
                    .serialize()
                    .to_pybytes()
                ),
            ),
        )
        deadline = time.monotonic() + self._connection.options.retry_s
        pause = 0.5
        while True:
            try:
                answer = self._ask(request)
            except (errors.GoogleAPICallError, StopIteration) as error:
                self._hang_up()
                lost = isinstance(error, StopIteration)
                if time.monotonic() > deadline or not (lost or is_temporary(error)):
                    if isinstance(error, StopIteration):
                        raise errors.ServiceUnavailable("the stream ended early") from None
                    raise
            else:
                code = answer.error.code
                # What was taken by a request whose answer was lost is not taken twice.
                if answer.row_errors or code in (_OK, _ALREADY_EXISTS):
                    return answer
                if code not in _AGAIN or time.monotonic() > deadline:
                    raise errors.from_grpc_status(code, answer.error.message)
                self._hang_up()
            time.sleep(pause)
            pause = min(2 * pause, 20.0)

    def _ask(self, request: Any) -> Any:
        if self._answers is None:
            waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
            self._requests = waiting
            waiting.put(request)  # before the call, which waits for the first answer
            self._answers = iter(
                self._client.append_rows(
                    iter(waiting.get, None),
                    retry=None,
                    timeout=_APPEND_S,
                    metadata=(("x-goog-request-params", f"write_stream={self._stream}"),),
                )
            )
        else:
            self._requests.put(request)
        return next(self._answers)

    def _hang_up(self) -> None:
        self._requests.put(None)
        self._answers = None


def pieces(rows: pa.Table, size: int) -> Iterator[tuple[int, pa.Table]]:
    """Cuts rows into runs of about `size` bytes, each with the index of its first row."""
    if not rows.num_rows:
        return
    each = max(1, int(size / max(1, rows.nbytes / rows.num_rows)))
    for start in range(0, rows.num_rows, each):
        part = rows.slice(start, each)
        if part.num_rows > 1 and part.nbytes > 2 * size:  # rows of very different length
            for at, smaller in pieces(part.combine_chunks(), size):
                yield start + at, smaller
        else:
            yield start, part
