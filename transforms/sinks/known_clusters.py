"""What a run that goes on has said of clusters, kept between processes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

RESOLVED = "resolved"
Row = Mapping[str, Any]
NOTHING: Mapping[int, Mapping[str, int]] = {}
_REMEMBERED = 200_000


class KnownClusters:
    """What has been said of clusters, kept in a file, so that a restart goes on from there, also
    one with other settings, bundles or watch lists, which is another run. What was said to other
    outputs is nothing to these.

    An alert is sent when a cluster is flagged first, and again when it reaches a severity that it
    did not have before: at most once for each cluster, window and severity. A cluster that was
    flagged and is so no more gets one row more, which says resolved.

    Rows come in any order, also in one batch after the other: what takes a cluster back goes
    another way through the pipeline than the cluster does. The largest revision counts.
    """

    def __init__(
        self,
        path: Path,
        earlier: Mapping[int, Mapping[str, int]] = NOTHING,
        outputs: Sequence[str] = (),
    ) -> None:
        """Args:
        path: of the file.
        earlier: start of a window, milliseconds UTC, to the newest revision of each cluster that
          the outputs have as open, for where the file is gone, or others wrote to them since.
        outputs: URIs that are written to.
        """
        self._path = path
        topics = [uri for uri in outputs if uri.startswith("kafka:")]
        self._topics, self._tables = _marks(topics), _marks(outputs) - _marks(topics)
        self._sent: set[tuple[str, ...]] = set()
        # Newest revision in the tables, and whether it is flagged, of all that were flagged once.
        self._said: dict[tuple[str, ...], tuple[int, bool]] = {}
        # Newest revision that says resolved and was not worth saying; flagged rows that are older
        # come too late. Of this process only: the rows of all accounts are among them.
        self._unsaid: dict[tuple[str, ...], int] = {}
        if path.exists():
            kept = json.loads(path.read_text(encoding="utf-8"))
            # What is written to fewer of them, as a backfill is, forgets nothing of the others.
            if self._topics <= (known := set(kept.get("topics", self._topics))):
                self._topics = known
                self._sent = {tuple(alert) for alert in kept["sent"]}
            if self._tables <= (known := set(kept.get("tables", self._tables))):
                self._tables = known
                for key in kept.get("open", ()):  # of an older version
                    self._said[tuple(key)] = 0, True
                for *key, revision, flagged in kept.get("said", ()):
                    self._said[tuple(key)] = revision, flagged
        for start_ms, clusters in earlier.items():
            start = datetime.fromtimestamp(start_ms / 1000, UTC).isoformat()
            for name, revision in clusters.items():
                if revision > self._said.get((name, start), (-1, False))[0]:
                    self._said[name, start] = revision, True

    def worth_saying(self, rows: Iterable[Row]) -> list[bool]:
        """Of each row whether it is flagged, or takes back what was flagged before.

        In a stream there is a row of every cluster and account that was judged; nobody asked for
        those that were never flagged.
        """
        numbered = sorted(enumerate(rows), key=lambda pair: int(pair[1]["revision"]))
        said, found = dict[tuple[str, ...], tuple[int, bool]](), [False] * len(numbered)
        for i, row in numbered:
            key: tuple[str, ...] = name_and_window(row)
            revision = int(row["revision"])
            before = said.get(key) or self._said.get(key, (0, False))
            if row["status"] != RESOLVED:
                found[i] = revision >= self._unsaid.get(key, 0)
            else:
                found[i] = before[1]
                if not found[i]:
                    self._unsaid[key] = max(revision, self._unsaid.pop(key, 0))
            if found[i]:
                said[key] = _newer(before, row)
        for key in list(self._unsaid)[: max(0, len(self._unsaid) - _REMEMBERED)]:
            del self._unsaid[key]
        return found

    def flagged(self) -> set[str]:
        """Ids of clusters that are flagged by now."""
        return {name for (name, _), (_, flagged) in self._said.items() if flagged}

    def is_flagged(self, name: str, window_start: Any) -> bool:
        """Whether a cluster is flagged by now in a window; None: in any, of an older version."""
        if window_start is None:
            return name in self.flagged()
        return self._said.get((name, _text(window_start)), (0, False))[1]

    def flagged_windows(self) -> list[tuple[int, str]]:
        """Begin of the window, milliseconds UTC, and id of clusters that are flagged by now."""
        return sorted(
            (_milliseconds(start), name)
            for (name, start), (_, flagged) in self._said.items()
            if flagged
        )

    def due(self, rows: Iterable[Row]) -> list[Row]:
        """Of each cluster and window the newest row, where it is flagged and its severity news."""
        newest = {name_and_window(row): row for row in by_revision(rows)}
        return [
            row
            for key, row in newest.items()
            if row["status"] != RESOLVED
            and int(row["revision"]) >= self._said.get(key, (0, False))[0]
            and _alert(row) not in self._sent
        ]

    def note(self, rows: Sequence[Row], sent: Sequence[Row]) -> None:
        """Remembers rows that are in the tables, and alerts that were sent."""
        if not rows and not sent:
            return
        for row in by_revision(rows):
            before = self._said.get(name_and_window(row), (0, False))
            self._said[name_and_window(row)] = _newer(before, row)
        self._sent.update(_alert(row) for row in sent)
        said = sorted((*key, *newest) for key, newest in self._said.items())
        kept = {
            "topics": sorted(self._topics),
            "tables": sorted(self._tables),
            "sent": sorted(self._sent),
            "said": said,
        }
        write_whole(self._path, kept)


def _marks(uris: Iterable[str]) -> set[str]:
    """Of outputs, so that no address is kept."""
    return {blake2b(uri.encode(), digest_size=8).hexdigest() for uri in uris}


def _newer(before: tuple[int, bool], row: Row) -> tuple[int, bool]:
    revision = int(row["revision"])
    return before if revision < before[0] else (revision, row["status"] != RESOLVED)


def write_whole(path: Path, kept: Mapping[str, Any]) -> None:
    """Writes a file that is there whole or as it was."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(kept), encoding="utf-8")
    partial.replace(path)


def by_revision(rows: Iterable[Row]) -> list[Row]:
    """Rows of `flagged_clusters`, the oldest first."""
    return sorted(rows, key=lambda row: int(row["revision"]))


def _text(moment: Any) -> str:
    return moment.isoformat() if isinstance(moment, datetime) else str(moment)


def _milliseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def name_and_window(row: Row) -> tuple[str, str]:
    """Of a row of `flagged_clusters`: the cluster, and the begin of its window as text."""
    return str(row["cluster_id"]), _text(row["window_start"])


def _alert(row: Row) -> tuple[str, str, str]:
    return *name_and_window(row), str(row["severity"])
