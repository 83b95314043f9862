"""What the history asked for in each cell: labels for requests that bring a vector and no text."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from transforms.embedding.space import NO_CELL
from transforms.ingest.batch import Events
from transforms.ingest.capabilities import NONE, Capability

SLOTS = 17  # 16 capabilities, as in the sketch, and what no capability could be told of
UNREAD = -2  # the label of a request that has neither text nor tools
_LEAST = 5  # requests of a cell that say anything


def _nothing() -> NDArray[np.int64]:
    return np.zeros((0, SLOTS), np.int64)


@dataclass(frozen=True, eq=False)  # no slots: `labels` is kept once it was made
class CapabilityTable:
    """Requests of the history by cell and capability.

    Attributes:
      counts: int64 of shape (cells, 17); the last column counts requests with a text that does not
        tell. Of shape (0, 17) where the history had no texts.
    """

    counts: NDArray[np.int64] = field(default_factory=_nothing)

    @cached_property
    def labels(self) -> NDArray[np.int8]:
        """The capability of a request without text by its cell, int8 of shape (cells,).

        It is what more than half of the cell's requests asked for, −1 where there is no such
        majority. Requests with tools do not vote: an event says itself whether it has some.
        """
        votes = self.counts.copy()
        votes[:, Capability.TOOL_USE] = 0
        told = votes[:, :-1]
        total = votes.sum(axis=1)
        clear = (total >= _LEAST) & (2 * told.max(axis=1) > total)
        return np.where(clear, told.argmax(axis=1), NONE).astype(np.int8)


def read_labels(events: Events) -> NDArray[np.int8]:
    """Capabilities of n events, `UNREAD` where there was nothing to tell them from: int8 (n,)."""
    read = (events.prompt_chars > 0) | (events.tools > 0)
    return np.where(read, events.capability, np.int8(UNREAD))


def count_labels(cells: NDArray[np.uint16], labels: NDArray[np.int8], size: int) -> CapabilityTable:
    """Counts requests of the history.

    Args:
      cells: uint16 of shape (n,), NO_CELL for none.
      labels: int8 of shape (n,), as of `read_labels`.
      size: cells of the codebook.
    """
    at = (cells != NO_CELL) & (labels != UNREAD)
    if not at.any():
        return CapabilityTable()
    slot = labels[at].astype(np.int64) % SLOTS  # −1 is the last column
    counts = np.bincount(cells[at].astype(np.int64) * SLOTS + slot, minlength=size * SLOTS)
    return CapabilityTable(counts.reshape(size, SLOTS).astype(np.int64))


def fill_labels(events: Events, labels: NDArray[np.int8]) -> NDArray[np.int8]:
    """Capabilities of n placed events, those without a text by their cell: int8 of shape (n,).

    Args:
      events: with cells.
      labels: of the cells; of shape (0,) where the history had no texts.
    """
    if not len(labels):
        return events.capability
    silent = (events.capability == NONE) & (events.prompt_chars == 0) & (events.cells != NO_CELL)
    return np.where(silent, labels.take(events.cells, mode="clip"), events.capability)
