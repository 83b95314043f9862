"""Real request traffic: arrival rates per client, burstiness and token lengths.

Reads what lies in a folder of traces: `servegen_client_rates.csv.gz` (rate and inter-arrival
variation of API clients in 10-minute windows), `servegen_client_lengths.csv.gz` (their token
quantiles), `azure2023_*.csv.gz` and `mooncake_conversation.csv.gz` (joint samples of input and
output tokens). Files that are absent are done without; the folder must have at least one.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
from numpy.typing import NDArray

from schemas.errors import DistilwatchError

WINDOW_S = 600
_PERIOD = 2016  # windows in the 14 days that the trace of clients covers
_MIN_WINDOWS = 288  # clients seen for less than two days say nothing about a fortnight
_LENGTH_FILES = {
    "azure2023_code.csv.gz": ("ContextTokens", "GeneratedTokens"),
    "azure2023_conv.csv.gz": ("ContextTokens", "GeneratedTokens"),
    "mooncake_conversation.csv.gz": ("input_length", "output_length"),
}


@dataclass(frozen=True, slots=True)
class ClientTrace:
    """The arrivals of one real API client.

    Attributes:
      shape: float64 of shape (2016,), requests per 10-minute window relative to its mean.
      cv: coefficient of variation of its inter-arrival times (median over windows).
    """

    shape: NDArray[np.float64]
    cv: float


@dataclass(frozen=True, slots=True)
class Traces:
    """What a folder of traces has.

    Attributes:
      clients: real clients; empty if the folder has none.
      input_tokens, output_tokens: joint samples, int64 of shape (n,), sorted by input.
      output_medians: median output tokens of real clients, float64.
    """

    clients: tuple[ClientTrace, ...]
    input_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    output_medians: NDArray[np.float64]

    def outputs_for(self, inputs: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Output tokens of real requests with about as many input tokens, int64 of shape (n,)."""
        at = np.searchsorted(self.input_tokens, inputs)
        spread = max(len(self.input_tokens) // 50, 1)
        at = at + rng.integers(-spread, spread + 1, len(inputs))
        return self.output_tokens[np.clip(at, 0, len(self.output_tokens) - 1)]


def open_traces(folder: Path) -> Traces:
    """Reads a folder of traces; cached in memory.

    Raises:
      DistilwatchError: the folder is missing or has none of the files, or one is not as published.
    """
    if not folder.is_dir():
        raise DistilwatchError(
            "the folder of traces does not exist", str(folder), "give --traces an existing folder"
        )
    return _open(str(folder.resolve()))


@lru_cache(maxsize=4)
def _open(folder: str) -> Traces:
    base = Path(folder)
    clients = _clients(base / "servegen_client_rates.csv.gz")
    pairs = [
        _columns(base / name, *columns)
        for name, columns in _LENGTH_FILES.items()
        if (base / name).exists()
    ]
    if not clients and not pairs:
        raise DistilwatchError(
            "no trace found",
            folder,
            "expected servegen_client_rates.csv.gz, azure2023_conv.csv.gz or the like",
        )
    joint = np.concatenate(pairs, axis=1) if pairs else np.zeros((2, 0))
    joint = joint[:, np.argsort(joint[0], kind="stable")].astype(np.int64)
    lengths = base / "servegen_client_lengths.csv.gz"
    medians = _columns(lengths, "out_p50")[0] if lengths.exists() else np.empty(0)
    medians = medians[np.isfinite(medians) & (medians > 1)]
    return Traces(clients, joint[0], joint[1], medians)


def _table(path: Path, *names: str) -> pa.Table:
    """These columns of a file."""
    try:
        return arrow_csv.read_csv(
            path, convert_options=arrow_csv.ConvertOptions(include_columns=list(names))
        )
    except (OSError, pa.ArrowException) as error:
        raise DistilwatchError(
            f"the trace cannot be read ({str(error).splitlines()[0]})",
            str(path),
            f"use it as published, with the columns {', '.join(names)}",
        ) from error


def _columns(path: Path, *names: str) -> NDArray[np.float64]:
    """Numbers of some columns: float64 of shape (names, lines)."""
    table = _table(path, *names)
    try:
        columns = [column.cast(pa.float64()).to_numpy() for column in table.columns]
    except pa.ArrowException as error:
        raise DistilwatchError(
            f"a column of the trace holds no numbers ({str(error).splitlines()[0]})",
            str(path),
            "use the trace as published",
        ) from error
    return np.stack(columns)


def _clients(path: Path) -> tuple[ClientTrace, ...]:
    if not path.exists():
        return ()
    keys = list(zip(*_table(path, "category", "model", "client").to_pydict().values(), strict=True))
    start_s, rates, cvs = _columns(path, "window_start_s", "rate_rps", "cv_iat")
    windows = start_s.astype(np.int64) // WINDOW_S
    rows: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        rows[key].append(row)
    found = []
    for mine in rows.values():
        if len(mine) < _MIN_WINDOWS:
            continue
        shape = np.zeros(_PERIOD)
        shape[windows[mine] % _PERIOD] = rates[mine]
        if not shape.any():
            continue
        # A handful of windows must not hold a whole fortnight's traffic.
        shape = np.minimum(shape, np.quantile(shape[shape > 0], 0.99))
        found.append(
            ClientTrace(shape / shape.mean(), float(np.clip(np.median(cvs[mine]), 0.3, 8)))
        )
    return tuple(found)
