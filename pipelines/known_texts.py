"""`distilwatch known-texts`: from files of texts to a collection, and what a collection is."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

import msgspec
import orjson

from pipelines.console import Console
from schemas.errors import DistilwatchError
from transforms.ingest.known import About, Builder, Kind, open_collection, write_collection
from transforms.ingest.known.file import NAME
from transforms.ingest.packed import opened

_KINDS = (".jsonl", ".csv", ".txt")
_ENDINGS = tuple(kind + packed for kind in _KINDS for packed in ("", ".gz"))
_TOGETHER = 2_000
_LONGEST_CELL = 10_000_000


@dataclass(frozen=True)
class BuildOptions:
    """What to read and what to make of it.

    Attributes:
      field: of the text in objects of .jsonl and columns of .csv.
      whole_files: whether a .txt file is one text, and not each of its lines.
      false_positives: share of shingles of other texts that may be taken for known.
    """

    files: Sequence[Path]
    out: Path
    name: str
    kind: str
    field: str
    whole_files: bool
    false_positives: float


@dataclass(frozen=True)
class CollectionSummary:
    """What a collection is.

    Attributes:
      file_bytes: length of the file.
      sha256: of the file's content, as runs are named by.
      too_short: texts that were left out; None where nobody counted.
    """

    about: About
    file_bytes: int
    sha256: str
    too_short: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        found: dict[str, Any] = msgspec.to_builtins(self.about)
        found |= {"file_bytes": self.file_bytes, "sha256": self.sha256}
        return found if self.too_short is None else found | {"too_short": self.too_short}

    def lines(self) -> list[str]:
        """For people."""
        about = self.about
        left_out = f", {self.too_short:,} left out as too short" if self.too_short else ""
        return [
            f"Collection {about.name} of kind {about.kind}: {about.texts:,} distinct texts"
            f"{left_out}.",
            f"{about.entries:,} shingles in {self.file_bytes / 1e6:,.1f} MB; "
            f"{about.false_positives:g} of other shingles are taken for known.",
            f"SHA-256 {self.sha256}",
        ]


def check_name(name: str) -> None:
    """Raises DistilwatchError when a collection cannot have a name."""
    if not NAME.fullmatch(name):
        raise DistilwatchError(
            "is no name for a collection",
            f"--name {name}",
            "use up to 64 letters, digits, blanks, '.', '-' and '_', a letter or digit first",
        )


def text_files(path: Path) -> list[Path]:
    """The file, or the files of texts anywhere in the folder, sorted.

    Raises:
      DistilwatchError: when there is none.
    """
    where = f"--input {path}"
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.name.endswith(_ENDINGS) and p.is_file())
        if found:
            return found
        raise DistilwatchError(
            "there are no files of texts in the folder", where, f"texts are in {_listed()} files"
        )
    if not path.exists():
        raise DistilwatchError("the file does not exist", where, "check the name")
    if not path.name.endswith(_ENDINGS):
        raise DistilwatchError(
            "the kind of file is not known from its name",
            where,
            f"texts are read from {_listed()} files",
        )
    return [path]


def build(options: BuildOptions, console: Console) -> CollectionSummary:
    """Reads all texts and writes the collection.

    Raises:
      DistilwatchError: when a file cannot be read, no text says enough, or there are too many.
    """
    console.step("Read the texts")
    builder, done = Builder(), 0
    for path in options.files:
        waiting: list[str] = []
        for text in _texts(path, options):
            waiting.append(text)
            if len(waiting) == _TOGETHER:
                builder.add(waiting)
                done += len(waiting)
                waiting = []
                console.progress(done, unit="texts")
        builder.add(waiting)
    console.step("Make the filter")
    kind = cast(Kind, options.kind)
    try:
        collection = builder.finish(options.name, kind, options.false_positives)
    except ValueError as error:
        raise DistilwatchError(
            f"the collection would need more than half a gigabyte ({error})",
            "known-texts build",
            "allow more --false-positives, or make several collections of a part each",
        ) from error
    if not collection.about.texts:
        raise DistilwatchError(
            "no text is long enough to be known by",
            ", ".join(str(path) for path in options.files[:3]),
            "check the files and --field; a text needs three words or so",
        )
    write_collection(options.out, collection)
    written = summary_of(options.out)
    return CollectionSummary(written.about, written.file_bytes, written.sha256, builder.too_short)


def summary_of(path: Path) -> CollectionSummary:
    """What a file is, after verifying it.

    Raises:
      DistilwatchError: when it cannot be used.
    """
    collection = open_collection(path)
    return CollectionSummary(collection.about, path.stat().st_size, collection.digest)


def _texts(path: Path, options: BuildOptions) -> Iterator[str]:
    """Texts of a file that are not blank."""
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    with _opened(path) as file:
        if kind == "jsonl":
            found = _of_objects(file, path, options.field)
        elif kind == "csv":
            found = _of_table(file, path, options.field)
        else:
            found = iter([file.read()]) if options.whole_files else iter(file)
        yield from (text for text in found if text.strip())


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    try:
        with opened(str(path)) as raw:
            yield io.TextIOWrapper(cast(io.BufferedReader, raw), "utf-8-sig", newline="")
    except UnicodeDecodeError as error:
        raise DistilwatchError("the file is not UTF-8 text", str(path), "save it so") from error


def _of_objects(file: TextIO, path: Path, field: str) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            row = None
        if not isinstance(row, dict):
            raise DistilwatchError("is no JSON object", f"{path}, line {number}", "mend the line")
        if not isinstance(text := row.get(field), str):
            raise DistilwatchError(
                f"has no text in {field!r}",
                f"{path}, line {number}",
                f"name the field with --field; there are {_some(row)}",
            )
        yield text


def _of_table(file: TextIO, path: Path, field: str) -> Iterator[str]:
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        table = csv.DictReader(file)
        if field not in (table.fieldnames or ()):
            raise DistilwatchError(
                f"has no column {field!r}",
                str(path),
                f"name it with --field; there are {_some(table.fieldnames or ())}",
            )
        for row in table:
            yield row[field] or ""
    except csv.Error as error:
        raise DistilwatchError(
            f"is no table: {error}", f"{path}, line {table.line_num}", "mend the line"
        ) from error
    finally:
        csv.field_size_limit(limit)


def _some(names: Any) -> str:
    """Names of fields, not their content; a first line that is no header has content, too."""
    return ", ".join(repr(str(name)[:30]) for name in list(names)[:8]) or "none"


def _listed() -> str:
    return f"{', '.join(_KINDS[:-1])} and {_KINDS[-1]} (also .gz)"
