"""Commits how far a stream has come to the broker, after its tables."""

from __future__ import annotations

from collections.abc import Sequence

from transforms.ingest.kafka_group import GroupOffsets, forget_positions, noted_positions
from transforms.ingest.kafka_uri import parse_kafka_uri
from transforms.sinks.commit import Committer, Written


class CommitBoth:
    """A committer of tables, and then of the offsets that readers had noted before.

    Args:
      committer: of the tables.
      inputs: URIs; topics without an end among them have offsets.
      folder: where readers note them.
      run_id: names the group where an address names none.
    """

    def __init__(
        self, committer: Committer, inputs: Sequence[str], folder: str, run_id: str
    ) -> None:
        self._committer = committer
        self._folder = folder
        self._topics = []
        forget_positions(folder)
        for text in inputs:
            if text.startswith("kafka://"):
                uri = parse_kafka_uri(text)
                if not uri.bounded:
                    group = uri.group or f"distilwatch-{run_id}"
                    self._topics.append((uri, GroupOffsets(uri, group)))

    @property
    def written(self) -> Written:
        """What was put into the tables."""
        return self._committer.written

    def commit(self) -> bool:
        """Writes what is staged, then commits the offsets; returns whether no rows have to wait."""
        noted = [(noted_positions(self._folder, uri), to) for uri, to in self._topics]
        if not self._committer.commit():
            return False
        for positions, to in noted:
            to.commit(positions)
        return True

    def close(self) -> None:
        """Leaves the brokers."""
        for _, to in self._topics:
            to.close()
