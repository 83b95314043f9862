"""Where linking puts each account, in Beam. All accounts of a window meet under one key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam import coders
from apache_beam.transforms import userstate
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from transforms.clusters.also_shared import with_also_shared
from transforms.clusters.cannot_link import CannotLink
from transforms.clusters.elements import AccountProfile
from transforms.clusters.linkables import linkables
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
from transforms.clusters.newest_links import ALL, decode_block, encode_block
from transforms.clusters.reports import Watching, with_hits
from transforms.coverage.stack import SketchStack
from transforms.scoring.handler import Scored, VerifiedBundle
from transforms.sessions.now_and_then import micros_before_closing, stream_windows
from transforms.sessions.sharding import Shard


class LinkableFn(beam.DoFn):  # type: ignore[misc]
    """Picks what links accounts, of many at once, for the step of this order that gathers them; see
    `NewestLinks`."""

    _FULL = 1_000

    def __init__(self, bundle: VerifiedBundle, options: LinkOptions, order: int) -> None:
        self._verified = bundle
        self._options = options
        self._order = order

    def setup(self) -> None:
        self._bundle = self._verified.load()

    def start_bundle(self) -> None:
        self._bundle = self._verified.now(self._bundle)
        self._waiting: dict[Any, list[tuple[Scored[AccountProfile], Timestamp]]] = {}
        self._count = 0

    def process(
        self,
        scored: Scored[AccountProfile],
        window: Any = beam.DoFn.WindowParam,
        at: Any = beam.DoFn.TimestampParam,
    ) -> Iterator[WindowedValue]:
        self._waiting.setdefault(window, []).append((scored, at))
        self._count += 1
        if self._count >= self._FULL:
            yield from self.finish_bundle()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        waiting, self._waiting, self._count = self._waiting, {}, 0
        for window, some in waiting.items():
            items = [scored.item for scored, _ in some]
            found = linkables(
                [item.account for item in items],
                SketchStack.of([item.sketch for item in items]),
                self._options,
                self._bundle.common,
                np.array([scored.p_value for scored, _ in some]),
            )
            micros = min(micros_before_closing(window, at, self._order) for _, at in some)
            block = ALL, encode_block(found)
            yield WindowedValue(block, Timestamp(micros=micros), (window,))


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
        self, element: Shard, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[tuple[str, Membership]]:
        yield from self.memberships([*decode_block(element[1]).each()], window)


@dataclass(eq=False)
class LinkAgain(beam.PTransform):  # type: ignore[misc]
    """Links whenever accounts have changed, and says what is new; one memory for all windows, so
    that names go on."""

    memberships: beam.DoFn
    window_ms: int
    allowed_lateness_ms: int

    def expand(self, accounts: beam.PCollection[Shard]) -> beam.PCollection[tuple[str, Membership]]:
        return (
            accounts
            | "NameWindow" >> beam.ParDo(_NameWindowFn()).with_output_types(_Named)
            | "LeaveWindows" >> beam.WindowInto(beam.window.GlobalWindows())
            | "Link" >> beam.ParDo(self.memberships)
            | "Windows" >> stream_windows(self.window_ms, self.allowed_lateness_ms)
        )


_Named = tuple[int, tuple[int, bytes]]  # key, begin of the window in milliseconds UTC, block


class _NameWindowFn(beam.DoFn):  # type: ignore[misc]
    def process(self, element: Shard, window: Any = beam.DoFn.WindowParam) -> Iterator[_Named]:
        yield element[0], (window.start.micros // 1000, element[1])


class MembershipsAgainFn(LinkFn):
    SAID = userstate.BagStateSpec("said", coders.PickleCoder())

    def process(
        self,
        element: _Named,
        at: Any = beam.DoFn.TimestampParam,
        said: Any = beam.DoFn.StateParam(SAID),
    ) -> Iterator[Any]:
        _, (start_ms, block) = element
        memory = next(iter(said.read()), Memory(self.known))
        before = memory.of(start_ms)
        accounts = [*decode_block(block).each()]
        report = only_news(self.report(accounts, before), accounts, before)
        if report.remembered.version >= before.version:
            said.clear()
            said.add(memory.with_report(start_ms, report.remembered))
        for membership in report.memberships:
            yield beam.window.TimestampedValue(membership, at)
