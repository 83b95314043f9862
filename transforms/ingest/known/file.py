"""The file of a collection: a prelude, a JSON header, and the filter's bits.

| bytes | what |
|---|---|
| 8 | `DWKNOWN` and a zero |
| 4 | version of the format, little-endian, as all numbers |
| 4 | length of the header |
| 32 | SHA-256 of header and bits |
| … | header, see `About` |
| … | bits |

The version stands for everything that a hash depends on: normal form, shingles, mixing, probes.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.errors import DistilwatchError
from transforms.ingest.known.bloom import MOST_BITS, MOST_PROBES, BloomFilter
from transforms.ingest.known.shingles import LEAST_BYTES, NORMAL_FORM, SHINGLE_BYTES

Kind = Literal["benchmark", "extraction", "other"]
KINDS: tuple[Kind, ...] = get_args(Kind)
VERSION = 2
MOST_FILES = 16  # a sketch counts so many
NAME = re.compile(r"\w[\w. -]{0,63}")

_MAGIC = b"DWKNOWN\0"
_PRELUDE = struct.Struct("<8sII32s")
_MOST_HEADER = 1 << 16
_MAPPED_BYTES = 1 << 26  # larger filters stay on disk, where processes share them
_BLOCK = 1 << 20


class About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a collection is.

    Attributes:
      name, kind: for people; kind is one of `KINDS`.
      texts: distinct texts.
      entries: distinct shingles, those that begin and end a text counted again.
      false_positives: share of shingles of other texts that are taken for known.
      bits, probes: of the filter.
      shingle_bytes, least_bytes, normal_form: how texts were cut; fixed by the version.
    """

    name: str
    kind: Kind
    texts: int
    entries: int
    false_positives: float
    bits: int
    probes: int
    shingle_bytes: int = SHINGLE_BYTES
    least_bytes: int = LEAST_BYTES
    normal_form: str = NORMAL_FORM


@dataclass(frozen=True, slots=True, eq=False)
class Collection:
    """A filter and what it is of.

    Attributes:
      digest: hex SHA-256 of the file, "" before it is written.
    """

    about: About
    bloom: BloomFilter
    digest: str = ""


def write_collection(path: Path, collection: Collection) -> None:
    """Writes a collection, whole or not at all.

    Raises:
      DistilwatchError: when the file cannot be written.
    """
    header = msgspec.json.encode(collection.about)
    body = np.ascontiguousarray(collection.bloom.bits).data
    digest = sha256(header)
    digest.update(body)
    prelude = _PRELUDE.pack(_MAGIC, VERSION, len(header), digest.digest())
    try:
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as out:
            try:
                for part in (prelude, header, body):
                    out.write(part)
                out.flush()
                os.chmod(out.name, 0o644)
                os.replace(out.name, path)
            except BaseException:
                Path(out.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise DistilwatchError(
            f"known texts cannot be written ({error.strerror})", str(path), "choose another place"
        ) from error


def open_collection(path: Path | str) -> Collection:
    """Reads a file and verifies all of it; once in a process, while the file does not change.

    Raises:
      DistilwatchError: when it is missing, no such file, of another version, or damaged.
    """
    try:
        stat = os.stat(path)
        return _open(str(path), stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise DistilwatchError(
            f"known texts cannot be read ({error.strerror})", str(path), "check the path"
        ) from error


@lru_cache(maxsize=2 * MOST_FILES)
def _open(path: str, _mtime: int, size: int) -> Collection:
    with open(path, "rb") as file:
        start = file.read(_PRELUDE.size)
        if len(start) < _PRELUDE.size or not start.startswith(_MAGIC):
            raise _unusable(path, "is no file of known texts")
        _, version, length, promised = _PRELUDE.unpack(start)
        if version != VERSION:
            raise _unusable(path, f"is of version {version}, and this one reads {VERSION}")
        if length > _MOST_HEADER:
            raise _unusable(path, "was damaged")
        header = file.read(length)
        begin = _PRELUDE.size + length
        bits = _bits(file, begin, size)
    digest = sha256(header)
    for at in range(0, len(bits), _BLOCK):
        digest.update(bits[at : at + _BLOCK].data)
    if digest.digest() != promised:
        raise _unusable(path, "was damaged or changed")
    about = _about(path, header)
    if about.bits != 8 * len(bits) or not 0 < about.bits <= MOST_BITS:
        raise _unusable(path, "was damaged or changed")
    return Collection(about, BloomFilter(bits, about.probes), promised.hex())


def _bits(file: BinaryIO, begin: int, size: int) -> NDArray[np.uint8]:
    count = max(size - begin, 0)
    if count > _MAPPED_BYTES:
        return np.memmap(file, np.uint8, "r", begin, (count,))
    return np.frombuffer(file.read(count), np.uint8)


def _about(path: str, header: bytes) -> About:
    try:
        about = msgspec.json.decode(header, type=About)
    except msgspec.DecodeError as error:
        raise _unusable(path, "has a header that cannot be read") from error
    cut = (about.shingle_bytes, about.least_bytes, about.normal_form)
    if cut != (SHINGLE_BYTES, LEAST_BYTES, NORMAL_FORM):
        raise _unusable(path, "holds shingles of another kind")
    if not (NAME.fullmatch(about.name) and 0 < about.probes <= MOST_PROBES):
        raise _unusable(path, "has a header that cannot be used")
    return about


def _unusable(path: str, what: str) -> DistilwatchError:
    return DistilwatchError(
        f"the file of known texts {what}", path, "make it anew with `distilwatch known-texts build`"
    )
