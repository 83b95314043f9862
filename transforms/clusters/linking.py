"""Where linking puts each account, in Beam. All accounts of a window meet under one key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam import coders, typehints
from apache_beam.transforms import userstate

from transforms.clusters.also_shared import with_also_shared
from transforms.clusters.cannot_link import CannotLink
from transforms.clusters.elements import AccountProfile
from transforms.clusters.linkables import linkable
from transforms.clusters.links import (
    Linkable,
    LinkOptions,
    find_components,
    with_matches,
)
from transforms.clusters.membership import (
    KnownIds,
    Membership,
    Memory,
    Remembered,
    Report,
    assign,
    only_news,
)
from transforms.clusters.newest import Versioned
from transforms.clusters.reports import Watching, with_hits
from transforms.scoring.handler import Scored, VerifiedBundle
from transforms.sessions.endless import stream_windows


class LinkableFn(beam.DoFn):  # type: ignore[misc]
    def __init__(self, bundle: VerifiedBundle, options: LinkOptions) -> None:
        self._verified = bundle
        self._options = options

    def setup(self) -> None:
        self._bundle = self._verified.load()

    def start_bundle(self) -> None:
        self._bundle = self._verified.now(self._bundle)

    def process(self, scored: Scored[AccountProfile]) -> Iterator[tuple[int, Versioned[Linkable]]]:
        account, sketch = scored.item.account, scored.item.sketch
        found = linkable(account, sketch, self._options, self._bundle.common, scored.p_value)
        yield 0, Versioned(found.account, found.events, found)


_Linkables = tuple[int, list[Versioned[Linkable]]]


class LinkFn(beam.DoFn):  # type: ignore[misc]
    """Links the accounts of a window; how they come, and the result goes, is up to who derives."""

    def __init__(
        self,
        bundle: VerifiedBundle,
        options: LinkOptions,
        known: KnownIds,
        cannot_link: tuple[CannotLink, ...],
        watching: Watching,
    ) -> None:
        self._verified = bundle
        self._options = options
        self.known = known
        self._cannot_link = cannot_link
        self._watching = watching

    def setup(self) -> None:
        self._bundle = self._verified.load()
        self._watched = self._watching.file()

    def start_bundle(self) -> None:
        self._bundle = self._verified.now(self._bundle)

    def report(self, accounts: list[Linkable], before: Remembered) -> Report:
        """Where each of all accounts of a window is, given what was said of it before."""
        linked = find_components(accounts, self._options, self._cannot_link)
        matched = with_matches(
            accounts, linked, self._bundle.background, self._options, self._cannot_link
        )
        report = assign(accounts, matched, before, self._cannot_link)
        watched, options = self._watched.current(), self._watching.options
        memberships = with_also_shared(report.memberships, accounts)
        return report._replace(memberships=with_hits(memberships, accounts, watched, options))

    def memberships(
        self, accounts: list[Linkable], window: Any
    ) -> Sequence[tuple[str, Membership]]:
        """Where each of all accounts of a window is that is linked once."""
        requests = sum(account.events for account in accounts)
        before = self.known.whole(window.start.micros // 1000, requests)
        return self.report(accounts, before).memberships


class MembershipsFn(LinkFn):
    """Links the accounts of a window, once."""

    def process(
        self, element: _Linkables, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[tuple[str, Membership]]:
        yield from self.memberships([entry.value for entry in element[1]], window)


@dataclass(eq=False)
class LinkAgain(beam.PTransform):  # type: ignore[misc]
    """Links whenever accounts have changed, and says what is new; one memory for all windows, so
    that names go on."""

    memberships: beam.DoFn
    window_ms: int
    allowed_lateness_ms: int

    def expand(
        self, accounts: beam.PCollection[_Linkables]
    ) -> beam.PCollection[tuple[str, Membership]]:
        named = accounts | "NameWindow" >> beam.ParDo(_NameWindowFn())
        named = named | "LeaveWindows" >> beam.WindowInto(beam.window.GlobalWindows())
        named.element_type = typehints.Tuple[int, Any]
        return (
            named
            | "Link" >> beam.ParDo(self.memberships)
            | "Windows" >> stream_windows(self.window_ms, self.allowed_lateness_ms)
        )


class _NameWindowFn(beam.DoFn):  # type: ignore[misc]
    def process(
        self, element: _Linkables, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[tuple[int, tuple[int, list[Versioned[Linkable]]]]]:
        yield element[0], (window.start.micros // 1000, element[1])


class MembershipsAgainFn(LinkFn):
    SAID = userstate.BagStateSpec("said", coders.PickleCoder())

    def process(
        self,
        element: tuple[int, tuple[int, list[Versioned[Linkable]]]],
        at: Any = beam.DoFn.TimestampParam,
        said: Any = beam.DoFn.StateParam(SAID),
    ) -> Iterator[Any]:
        _, (start_ms, entries) = element
        memory = next(iter(said.read()), Memory(self.known))
        before = memory.of(start_ms)
        accounts = [entry.value for entry in entries]
        report = only_news(self.report(accounts, before), accounts, before)
        if report.remembered.version >= before.version:
            said.clear()
            said.add(memory.with_report(start_ms, report.remembered))
        for membership in report.memberships:
            yield beam.window.TimestampedValue(membership, at)
