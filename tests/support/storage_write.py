"""A Storage Write API that keeps the rules of BigQuery's, made from the client library's own types.

What the documentation and the comments of the service's definition say is enforced: offsets of a
stream (ALREADY_EXISTS, OUT_OF_RANGE), sizes of requests, the schema of the table, finalising before
committing, committing once, and bad rows, of which none of a request's are taken. Committed rows
are loaded into the emulator, where MERGE finds them.
"""

from __future__ import annotations

import io
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
from google.cloud import bigquery as api
from google.cloud.bigquery_storage_v1 import types
from google.rpc import status_pb2

_SERVICE = "google.cloud.bigquery.storage.v1.BigQueryWrite"
_LARGEST = 10 << 20
_TYPES = {
    "STRING": pa.string(), "INTEGER": pa.int64(), "INT64": pa.int64(), "FLOAT": pa.float64(),
    "FLOAT64": pa.float64(), "BOOLEAN": pa.bool_(), "BOOL": pa.bool_(), "BYTES": pa.binary(),
    "TIMESTAMP": pa.timestamp("us", "UTC"),
}  # fmt: skip
_CODES = types.StorageError.StorageErrorCode


@dataclass
class Stream:
    """A pending stream.

    Attributes:
      table: `project.dataset.table`.
      rows: that were taken, not visible yet.
      final, committed: whether it takes no more; whether its rows are in the table.
    """

    table: str
    rows: list[pa.RecordBatch] = field(default_factory=list)
    final: bool = False
    committed: bool = False

    @property
    def size(self) -> int:
        """The next offset."""
        return sum(batch.num_rows for batch in self.rows)


@dataclass
class Trouble:
    """What happens to one append.

    Attributes:
      after: appends that go well before.
      code: of gRPC, or of the answer's error when `told` is set.
      done: whether the rows are taken nevertheless.
      told: whether the answer carries the error, instead of the connection breaking.
    """

    after: int = 0
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    done: bool = False
    told: bool = False


class StorageWriteServer:
    """Serves on a free port, inside a `with` statement.

    Attributes:
      address: "127.0.0.1:port".
      streams: by name.
      requests: every append, as it was sent.
      routes: what each connection says of where it goes.
      troubles: that are still to happen.
      bad_row: of a row, why it is refused; "" for one that is taken.
      lose_commits: so many answers to commits are lost.
    """

    def __init__(self, client: api.Client) -> None:
        self.streams: dict[str, Stream] = {}
        self.requests: list[types.AppendRowsRequest] = []
        self.routes: list[str] = []
        self.troubles: list[Trouble] = []
        self.bad_row: Callable[[dict[str, Any]], str] = lambda _: ""
        self.lose_commits = 0
        self._client = client
        self._lock = threading.Lock()
        self._server = grpc.server(
            futures.ThreadPoolExecutor(8),
            options=[("grpc.max_receive_message_length", 32 << 20)],
        )
        unary = (
            ("CreateWriteStream", types.CreateWriteStreamRequest, types.WriteStream, self._create),
            ("FinalizeWriteStream", types.FinalizeWriteStreamRequest,
             types.FinalizeWriteStreamResponse, self._finalize),
            ("BatchCommitWriteStreams", types.BatchCommitWriteStreamsRequest,
             types.BatchCommitWriteStreamsResponse, self._commit),
        )  # fmt: skip
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(method, request.deserialize, answer.serialize)
            for name, request, answer, method in unary
        }
        handlers["AppendRows"] = grpc.stream_stream_rpc_method_handler(
            self._append, types.AppendRowsRequest.deserialize, types.AppendRowsResponse.serialize
        )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_SERVICE, handlers),)
        )
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> StorageWriteServer:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop(1).wait()

    def _create(self, request: Any, context: grpc.ServicerContext) -> types.WriteStream:
        if request.write_stream.type_ != types.WriteStream.Type.PENDING:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "only PENDING streams are served here")
        _, project, _, dataset, _, table = request.parent.split("/")
        name = f"{request.parent}/streams/{uuid.uuid4().hex}"
        try:
            self._client.get_table(f"{project}.{dataset}.{table}")
        except Exception:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Requested entity was not found: {table}")
        self.streams[name] = Stream(f"{project}.{dataset}.{table}")
        return types.WriteStream(name=name, type_=types.WriteStream.Type.PENDING)

    def _append(
        self, requests: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[types.AppendRowsResponse]:
        self.routes += [
            str(value)
            for key, value in context.invocation_metadata()
            if key == "x-goog-request-params" and value  # the library adds one without a value
        ]
        schema: pa.Schema | None = None
        name = ""
        for request in requests:
            self.requests.append(request)
            name = request.write_stream or name
            if request.arrow_rows.writer_schema.serialized_schema:
                schema = pa.ipc.read_schema(
                    pa.py_buffer(request.arrow_rows.writer_schema.serialized_schema)
                )
            trouble = self._trouble()
            if trouble is not None and not trouble.done and not trouble.told:
                context.abort(trouble.code, "the network is down")
            if trouble is not None and trouble.told:
                yield _error(trouble.code, "try again")
                continue
            answer = self._take(name, request, schema, context)
            if trouble is not None:
                context.abort(trouble.code, "the answer is lost")
            yield answer

    def _trouble(self) -> Trouble | None:
        if not self.troubles:
            return None
        if self.troubles[0].after:
            self.troubles[0].after -= 1
            return None
        return self.troubles.pop(0)

    def _take(
        self, name: str, request: Any, schema: pa.Schema | None, context: grpc.ServicerContext
    ) -> types.AppendRowsResponse:
        stream = self.streams.get(name)
        if stream is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no stream {name}")
            raise AssertionError
        if types.AppendRowsRequest.pb(request).ByteSize() > _LARGEST:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "AppendRowsRequest too large")
        if schema is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the first request has no schema")
        if stream.final:
            return _error(grpc.StatusCode.INVALID_ARGUMENT, "the stream is finalized")
        wrong = self._mismatch(stream.table, schema)
        if wrong:
            return _error(grpc.StatusCode.INVALID_ARGUMENT, wrong)
        batch = pa.ipc.read_record_batch(
            pa.py_buffer(request.arrow_rows.rows.serialized_record_batch), schema
        )
        with self._lock:
            if types.AppendRowsRequest.pb(request).HasField("offset"):
                if request.offset < stream.size:
                    return _error(grpc.StatusCode.ALREADY_EXISTS, "the offset is within the stream")
                if request.offset > stream.size:
                    return _error(grpc.StatusCode.OUT_OF_RANGE, "the offset is beyond the end")
            bad = self._bad_rows(stream.table, batch)
            if bad:
                answer = _error(grpc.StatusCode.INVALID_ARGUMENT, "Errors found while processing")
                answer.row_errors = bad
                return answer
            offset = stream.size
            stream.rows.append(batch)
        result = types.AppendRowsResponse.AppendResult(offset=offset)
        return types.AppendRowsResponse(append_result=result, write_stream=name)

    def _mismatch(self, table: str, schema: pa.Schema) -> str:
        """Why rows of a schema do not fit the table; "" when they do."""
        fields = {f.name: f for f in self._client.get_table(table).schema}
        for column in schema:
            if column.name not in fields:
                return f"Input schema has more fields than BigQuery schema, extra: {column.name}"
            if column.type != _arrow(fields[column.name]):
                return f"Field {column.name} has type {column.type}"
        return ""

    def _bad_rows(self, table: str, batch: pa.RecordBatch) -> list[types.RowError]:
        must = [f.name for f in self._client.get_table(table).schema if f.mode == "REQUIRED"]
        found = []
        for i, row in enumerate(batch.to_pylist()):
            why = next((f"Field {n} is required" for n in must if row.get(n) is None), "")
            if why := why or self.bad_row(row):
                code = types.RowError.RowErrorCode.FIELDS_ERROR
                found.append(types.RowError(index=i, code=code, message=why))
        return found

    def _finalize(
        self, request: Any, context: grpc.ServicerContext
    ) -> types.FinalizeWriteStreamResponse:
        stream = self.streams[request.name]
        stream.final = True
        return types.FinalizeWriteStreamResponse(row_count=stream.size)

    def _commit(
        self, request: Any, context: grpc.ServicerContext
    ) -> types.BatchCommitWriteStreamsResponse:
        answer = types.BatchCommitWriteStreamsResponse()
        for name in request.write_streams:
            stream = self.streams[name]
            code = None if stream.final else _CODES.INVALID_STREAM_STATE
            code = _CODES.STREAM_ALREADY_COMMITTED if stream.committed else code
            if code is not None:
                answer.stream_errors.append(types.StorageError(code=code, entity=name))
        if not answer.stream_errors:
            for name in request.write_streams:
                self._load(self.streams[name])
        if self.lose_commits:
            self.lose_commits -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "the answer is lost")
        return answer

    def _load(self, stream: Stream) -> None:
        file = io.BytesIO()
        pq.write_table(pa.Table.from_batches(stream.rows), file)
        lists = api.ParquetOptions()
        lists.enable_list_inference = True
        config = api.LoadJobConfig(
            source_format="PARQUET", write_disposition="WRITE_APPEND", parquet_options=lists
        )
        self._client.load_table_from_file(
            file, stream.table, rewind=True, job_config=config
        ).result()
        stream.committed = True


def _arrow(column: api.SchemaField) -> pa.DataType:
    kind = (
        pa.struct([pa.field(f.name, _arrow(f)) for f in column.fields])
        if column.fields
        else _TYPES[column.field_type]
    )
    return pa.list_(kind) if column.mode == "REPEATED" else kind


def _error(code: grpc.StatusCode, message: str) -> types.AppendRowsResponse:
    number, _ = code.value
    return types.AppendRowsResponse(error=status_pb2.Status(code=number, message=message))
