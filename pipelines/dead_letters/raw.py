"""The bytes of a dead letter: out of the table under a key, or from where the record came."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from pathlib import Path

from pipelines.dead_letters.table import Letter
from schemas.errors import DistilwatchError
from transforms.ingest.kafka_reader import TopicReader
from transforms.ingest.kafka_uri import parse_kafka_uri
from transforms.ingest.packed import opened
from transforms.ingest.sealing import LetterKeys


@dataclass(frozen=True, slots=True)
class Found:
    """A letter with its bytes.

    Attributes:
      raw: None where they are nowhere to be had.
      why: there are none.
      key, headers: of a record that its topic still has.
    """

    letter: Letter
    raw: bytes | None
    why: str = ""
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


def find_raw(
    letters: Sequence[Letter], keys: LetterKeys | None, topics: Mapping[str, str]
) -> Iterator[Found]:
    """The bytes of letters, in the order of their places.

    A record that its topic still has comes with its key and headers; else the table's bytes count,
    where there are keys; else those of its file.

    Args:
      letters: in any order.
      keys: that open sealed bytes; None: these are not looked at.
      topics: URI by source, of topics that may be read.

    Raises:
      DistilwatchError: a key is missing, or a broker does not answer.
    """
    ordered = sorted(letters, key=lambda letter: letter.place)
    for source, own in groupby(ordered, key=lambda letter: letter.source):
        if source in topics:
            yield from _from_topic(list(own), topics[source], keys)
        else:
            yield from _from_table_or_file(list(own), keys)


def _opened(letter: Letter, keys: LetterKeys | None) -> bytes | None:
    if letter.sealed is None or keys is None:
        return None
    return keys.open(letter.sealed, letter.place)


def _from_topic(letters: list[Letter], uri: str, keys: LetterKeys | None) -> Iterator[Found]:
    reader = TopicReader(parse_kafka_uri(uri))
    try:
        for partition, own in groupby(letters, key=lambda letter: letter.partition):
            wanted = {letter.offset: letter for letter in own}
            there = {r.offset: r for r in reader.records_at(partition, sorted(wanted))}
            for offset, letter in wanted.items():
                record = there.get(offset)
                if record is not None and _same(record.value or b"", letter):
                    headers = tuple((name, value) for name, value in record.headers or ())
                    yield Found(letter, record.value or b"", "", record.key, headers)
                else:
                    why = "the topic has it no more"
                    raw = _opened(letter, keys)
                    yield Found(letter, raw, "" if raw is not None else why)
    finally:
        reader.close()


def _from_table_or_file(letters: list[Letter], keys: LetterKeys | None) -> Iterator[Found]:
    missing = []
    for letter in letters:
        raw = _opened(letter, keys)
        if raw is None:
            missing.append(letter)
        else:
            yield Found(letter, raw)
    if not missing:
        return
    source = missing[0].source
    if source.startswith("kafka://"):
        for letter in missing:
            yield Found(letter, None, "neither a key nor its topic was given")
        return
    path = Path(source)
    if not path.is_file():
        for letter in missing:
            yield Found(letter, None, "its file is there no more")
        return
    lines = _lines(path, [letter.offset for letter in missing])
    for letter, raw in zip(missing, lines, strict=True):
        same = raw is not None and _same(raw, letter)
        yield Found(letter, raw if same else None, "" if same else "its file has changed")


def _lines(path: Path, offsets: Iterable[int]) -> Iterator[bytes | None]:
    """The lines that begin at ascending byte positions; None past the end or a damage."""
    left = deque(offsets)
    try:
        with opened(str(path)) as file:
            while left:
                file.seek(left[0])
                line = file.readline().strip() or None
                left.popleft()
                yield line
    except DistilwatchError:
        yield from [None] * len(left)


def _same(raw: bytes, letter: Letter) -> bool:
    return sha256(raw).hexdigest() == letter.sha256


def topics_of(inputs: Iterable[str]) -> dict[str, str]:
    """URI by source of the topics among inputs.

    Raises:
      DistilwatchError: an input is no address, or two are of topics with one name.
    """
    found: dict[str, str] = {}
    for uri in inputs:
        if not uri.startswith("kafka://"):
            continue
        source = parse_kafka_uri(uri).source
        if source in found and found[source] != uri:
            raise DistilwatchError(
                f"two inputs are topics called {source.removeprefix('kafka://')}",
                "--from",
                "give the one that the letters came from",
            )
        found[source] = uri
    return found
