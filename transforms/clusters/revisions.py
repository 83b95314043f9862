"""Which of a cluster's rows counts: the one with the largest revision.

A revision is the number of the cluster's requests, so that it is the same whoever counts, in
whatever order. But in a stream a cluster may become smaller: what its accounts share may be rare no
more when others have it, too. What is said of it then would have an older revision than what was
said of the larger one, which nobody would ever take back. So the requests of those who left count
on: whatever the larger one may still have said, on its way beside this report, had no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Had(NamedTuple):
    """A name that somebody has left, or that was gone.

    Attributes:
      accounts: that it has or had.
      changes: how often these have changed since, which no request says.
    """

    accounts: frozenset[str]
    changes: int


class Count:
    """Counts the revisions of a report.

    Args:
      events: requests of each account of the window.
      before: by name, accounts in the report before.
      had: by name, as the report before has left it.
      known: by name, revisions of an earlier run; {} where these do not count.
    """

    def __init__(
        self,
        events: Mapping[str, int],
        before: Mapping[str, frozenset[str]],
        had: Mapping[str, Had],
        known: Mapping[str, int],
    ) -> None:
        self._events, self._before, self._known = events, before, known
        self.had = dict(had)

    def offset(self, name: str, group: Iterable[str], number: int) -> int:
        """What the revision of a name counts beside this number, its requests."""
        had, before = self.had.get(name), self._before.get(name, frozenset())
        if had is None and not before and name not in self._known:
            return 0  # nearly all, where input ends
        accounts = frozenset(group)
        if had is None and before - accounts:
            had = Had(before, 0)
        if had is not None and accounts != before:
            had = Had(had.accounts | accounts, had.changes + 1)
        found = 0 if had is None else self._of(had, accounts)
        if (known := self._known.get(name, 0)) > number + found:
            more = known + 1 - number - found
            had = Had(accounts, more) if had is None else had._replace(changes=had.changes + more)
            found += more
        if had is not None:
            self.had[name] = had
        return found

    def gone(self, name: str) -> int:
        """The revision with which a name is gone; 0 where nothing is known of it."""
        had, before = self.had.get(name), self._before.get(name)
        if before is not None:
            had = Had(before | (had.accounts if had else frozenset()), had.changes if had else 0)
            had = had._replace(changes=had.changes + 1)
        elif had is None and name in self._known:
            had = Had(frozenset(), self._known[name] + 1)
        if had is not None:
            self.had[name] = had
        return 0 if had is None else self._of(had, frozenset())

    def _of(self, had: Had, accounts: frozenset[str]) -> int:
        left = had.accounts - accounts
        return sum(self._events.get(account, 0) for account in left) + had.changes
