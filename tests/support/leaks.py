"""All that a file says, whatever its form: to look for what must not be there."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq


def every_text(path: Path) -> Iterator[tuple[str, bytes]]:
    """The bytes of a file, and what they mean: rows of tables and views, arrays, parts of archives.

    Yields:
      Where in the file, and the bytes.
    """
    data = path.read_bytes()
    yield str(path), data
    if path.name.endswith(".gz"):
        yield f"{path}, unpacked", gzip.decompress(data)
    if data[:4] == b"PAR1":
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
