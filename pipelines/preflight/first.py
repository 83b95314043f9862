"""The first records of a file: whether any of them is what the settings say that it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from schemas.errors import DistilwatchError

if TYPE_CHECKING:
    from pipelines.config import Config
    from transforms.ingest.batch import RecordBatch
    from transforms.ingest.decode import Decoder

_RECORDS = 20


def strange_records(config: Config, uri: str) -> DistilwatchError | None:
    """What is wrong when none of the first records of a file can be used; None when one can.

    That stops no run: what follows may be better, and what is refused is kept. No key is used, and
    none is made.

    Args:
      config: settings.
      uri: of an input; of topics and tables nothing is looked at.
    """
    from transforms.ingest.decode import Decoder
    from transforms.ingest.formats.adapter import adapter_of
    from transforms.ingest.pseudonyms import Pseudonymiser

    batch = _first(uri)
    ingest = config.ingest
    if batch is None or ingest.registry.url is not None:
        return None
    decoder = Decoder(
        Pseudonymiser(bytes(32)), config.embedding.model, config.embedding.dim,
        max_future_ms=ingest.max_future_ms, min_event_time_ms=ingest.min_event_time_ms,
        adapter=adapter_of(ingest.format, ingest.fields),
    )  # fmt: skip
    done = decoder.decode(batch)
    fitting = "" if len(done.events) else _fitting(decoder, batch, ingest.format)
    if len(done.events) or (not fitting and (done.others or not done.refused)):
        return None
    size = len(batch.values)
    said = f"none of its first {size} records is" if size > 1 else "its only record is not"
    said += " a request that can be used"
    refused = Counter((one.reason, one.detail) for one in done.refused)
    for (reason, detail), count in refused.most_common(1):
        said += f": {reason}" + (f" ({count} times)" if size > 1 else "")
        said += f", {detail}" if detail else ""
    return DistilwatchError(said, uri, _mend(fitting, batch, ingest.format))


def _fitting(decoder: Decoder, batch: RecordBatch, form: str) -> str:
    """The format that the records have; "" when none is known."""
    from transforms.ingest.formats.adapter import adapter_of, names

    for name in ("events", *names()):
        if name == form:
            continue
        if len(replace(decoder, adapter=adapter_of(name, {})).decode(batch).events):
            return name
    return ""


def _mend(fitting: str, batch: RecordBatch, form: str) -> str:
    if fitting:
        return f"they look like {fitting}: try --input-format {fitting}"
    if batch.values[0][:1] == b"[":
        return "write one object a line: jq -c '.[]' FILE > FILE.jsonl"
    if form == "events":
        return "docs/contracts.md lists the fields of an event, docs/gateways.md what else is read"
    return f"docs/gateways.md says what {form} needs, and how `ingest.fields` names other places"


def _first(uri: str) -> RecordBatch | None:
    from transforms.ingest.files import find_files

    if "://" in uri and not uri.startswith("file://"):
        return None
    return next(_batches(find_files(uri)), None)


def _batches(paths: list[str]) -> Iterator[RecordBatch]:
    from transforms.ingest.files import byte_ranges, read_range

    for path in paths:
        for span in byte_ranges(path):
            yield from read_range(*span, _RECORDS)
