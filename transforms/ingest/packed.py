"""Files that may be packed with gzip, and what is wrong with one that cannot be read."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from schemas.errors import DistilwatchError


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """A file to read from, unpacked where its name ends with .gz.

    Raises:
      DistilwatchError: it cannot be opened or, whenever that shows, not be read.
    """
    try:
        with cast(BinaryIO, gzip.open(path)) if path.endswith(".gz") else open(path, "rb") as file:
            yield file
    except EOFError as error:
        raise DistilwatchError(
            "the file is cut off", path, "get it anew; what is in it was not used"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DistilwatchError(
            "the file is not gzip, or damaged", path, "check how it was made"
        ) from error
    except OSError as error:
        raise DistilwatchError(
            f"the file cannot be read ({error.strerror or error})",
            path,
            "check that it is there, and its permissions",
        ) from error
