"""The book of alerts: their states and their steps, with the outbox, in one SQLite file.

A step of an alert and the messages that tell of it are written in one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from transforms.alerts.book_file import BookFile, as_json
from transforms.alerts.life import Alert, pack, unpack
from transforms.alerts.outbox import Outbox


class Known(NamedTuple):
    """A cluster as the book has it: its alert, its accounts, and its row in short."""

    alert: Alert
    accounts: list[str]
    about: dict[str, Any]


class Book:
    """See the module. Open it in a `with` statement; several processes may have it open.

    Attributes:
      path: of the file.
      outbox: messages that tell of the steps.
    """

    def __init__(self, path: Path) -> None:
        """Args:
        path: of the file; made where it is not there.

        Raises:
          DistilwatchError: it cannot be opened.
        """
        self.path = path
        self._file = BookFile(path)
        self._db = self._file.db
        self.outbox = Outbox(self._file)

    def __enter__(self) -> Book:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def writing(self) -> AbstractContextManager[None]:
        """One transaction, the outbox included; see `BookFile.writing`."""
        return self._file.writing()

    def is_new(self) -> bool:
        """Whether it has no cluster."""
        return self._db.execute("SELECT 1 FROM clusters LIMIT 1").fetchone() is None

    def known(self, cluster_ids: Iterable[str] | None = None) -> dict[str, Known]:
        """Clusters by id; all of them where none are named."""
        select = "SELECT cluster_id, alert, accounts, about FROM clusters"
        if cluster_ids is None:
            rows = self._db.execute(select)
        else:
            names = orjson.dumps(list(cluster_ids)).decode()
            rows = self._db.execute(
                f"{select} WHERE cluster_id IN (SELECT value FROM json_each(?))", [names]
            )
        return {
            name: Known(unpack(orjson.loads(alert)), orjson.loads(accounts), orjson.loads(about))
            for name, alert, accounts, about in rows
        }

    def keep(self, cluster_id: str, known: Known) -> None:
        """Keeps a cluster as it is now."""
        self._db.execute(
            "INSERT OR REPLACE INTO clusters VALUES (?, ?, ?, ?)",
            [cluster_id, as_json(pack(known.alert)), as_json(known.accounts), as_json(known.about)],
        )

    def add_step(self, row: Mapping[str, Any]) -> None:
        """Adds a step: a row of the table `alerts`; one that is there already stays as it was."""
        self._db.execute(
            "INSERT OR IGNORE INTO steps VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
            [
                row["alert_id"], row["revision"], row["step"], row["policy"], row["changed_at"],
                row["storm_id"], bool(row["channels"]), as_json(row),
            ],
        )  # fmt: skip

    def opened_since(self, policy: str, at_ms: int) -> int:
        """Alerts of a policy that were opened, and told one by one, since a time."""
        found = self._db.execute(
            "SELECT count(*) FROM steps WHERE kind = 'opened' AND policy = ? AND at_ms > ? "
            "AND storm_id IS NULL AND told",
            [policy, at_ms],
        ).fetchone()
        return int(found[0])

    def unexported(self) -> list[dict[str, Any]]:
        """Steps that are not in the tables yet."""
        rows = self._db.execute("SELECT row FROM steps WHERE exported = 0 ORDER BY at_ms, revision")
        return [orjson.loads(row) for (row,) in rows]

    def exported(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Notes that steps are in the tables."""
        with self.writing():
            self._db.executemany(
                "UPDATE steps SET exported = 1 WHERE alert_id = ? AND revision = ?",
                [(row["alert_id"], row["revision"]) for row in rows],
            )

    def fact(self, name: str) -> Any:
        """Something that is remembered by name; None for nothing."""
        found = self._db.execute("SELECT value FROM facts WHERE name = ?", [name]).fetchone()
        return None if found is None else orjson.loads(found[0])

    def remember(self, name: str, value: Any) -> None:
        """Remembers something by name."""
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", [name, as_json(value)])
