"""All that a file says, whatever its form: to look for what must not be there."""

from __future__ import annotations

import gzip
import io
import random
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path

import duckdb
import numpy as np
import orjson
import pyarrow.parquet as pq


def leaks(folder: Path, wanted: Collection[bytes]) -> tuple[list[str], set[str]]:
    """Looks for secrets in all files of a folder.

    Returns:
      Places of those that were found; names of files, and folders of the folder, that were read.
    """
    found, read = [], set()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        read.update(path.relative_to(folder).parts)
        for place, text in every_text(path):
            found += [place for secret in wanted if secret in text]
    return found, read


def every_text(path: Path) -> Iterator[tuple[str, bytes]]:
    """The bytes of a file, and what they mean: rows of tables and views, arrays, parts of archives.

    Yields:
      Where in the file, and the bytes. Of a Parquet file that a killed worker had not finished, as
      it has no schema, only what can be read as it is.
    """
    data = path.read_bytes()
    yield str(path), data
    if path.name.endswith(".gz"):
        yield f"{path}, unpacked", gzip.decompress(data)
    if data[:4] == b"PAR1" and (path.suffix != ".partial" or data[-4:] == b"PAR1"):
        yield f"{path}, rows", repr(pq.ParquetFile(path).read().to_pylist()).encode()
    elif zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                part = archive.read(name)
                yield f"{path}, {name}", part
                if name.endswith(".npy"):
                    array = np.load(io.BytesIO(part), allow_pickle=False)
                    if array.dtype.kind in "US":
                        yield f"{path}, {name}", repr(array.tolist()).encode()
    elif data[8:12] == b"DUCK":
        with duckdb.connect(str(path), read_only=True) as connection:
            names = connection.execute(
                "SELECT table_name FROM duckdb_tables() "
                "UNION ALL SELECT view_name FROM duckdb_views() WHERE NOT internal"
            ).fetchall()
            for (name,) in names:
                rows = connection.execute(f'SELECT * FROM "{name}"').fetchall()
                yield f"{path}, {name}", repr(rows).encode()


def secrets(path: Path) -> Iterator[bytes]:
    """Pieces of prompts, and fingerprints, that are in a file of events."""
    draw, fingerprints, prompts = random.Random(7), set(), []
    for line in path.read_bytes().splitlines():
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if not isinstance(event, dict):
            continue
        prompt, fingerprint = event.get("prompt_text"), event.get("payment_fingerprint")
        if isinstance(fingerprint, str) and len(fingerprint) >= 8:
            fingerprints.add(fingerprint)
        if isinstance(prompt, str) and len(prompt) >= 60:
            prompts.append(prompt)
    for fingerprint in fingerprints:
        yield fingerprint.encode()
    for prompt in draw.sample(prompts, min(300, len(prompts))):
        middle = len(prompt) // 2
        yield prompt[:24].encode()
        yield prompt[middle : middle + 24].encode()
