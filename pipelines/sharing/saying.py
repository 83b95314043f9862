"""What we say of others' indicators: that we have seen them, and what we think of them."""

from __future__ import annotations

from pipelines.sharing.outbound import put_forward
from pipelines.sharing.policy import Policy
from pipelines.sharing.store import Proposal, ShareStore
from pipelines.sharing.tables import SharedTables, tables_at
from schemas.errors import DistilwatchError
from transforms.sharing.gate import words_of
from transforms.sharing.indicators import Indicator
from transforms.sharing.stix import (
    Agreement,
    identity_object,
    note_object,
    opinion_object,
    sighting_object,
)
from transforms.sharing.tlp import marking_object

_HOUR_MS = 3_600_000


def propose_sightings(policy: Policy, store: ShareStore, output: str, to: str, by: str) -> Proposal:
    """Proposes to tell that indicators of others were seen here.

    Only of indicators that came from the same collection that the recipient is, so that nobody
    hears of an indicator from us. Says nothing of accounts, and rounds counts and times. Nor of
    what is only alike: some benign groups are, and nobody else could tell them apart.

    Raises:
      DistilwatchError: nothing of it was seen.
    """
    tables, terms = tables_at(output), policy.terms(to)
    known = {one.indicator_id for one in _from_there(policy, tables, to) if not one.kind.compared}
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    count: dict[str, int] = {}
    now_ms = store.now_ms()
    for seen in tables.sightings():
        name = seen.indicator_id
        if name in known:
            first[name] = min(first.get(name, seen.first_seen_ms), seen.first_seen_ms)
            last[name] = max(last.get(name, seen.last_seen_ms), seen.last_seen_ms)
            count[name] = count.get(name, 0) + seen.count
    if not count:
        raise DistilwatchError(
            f"no indicator of {to} was seen here",
            tables.place,
            "poll, and run `distilwatch detect`",
        )
    objects = [marking_object(terms.marking), identity_object(policy.lab)]
    objects += [
        sighting_object(
            policy.lab, name, first[name], last[name], count[name], terms.marking,
            first[name] // _HOUR_MS * _HOUR_MS, max(now_ms, first[name]),
        )
        for name in sorted(count)
    ]  # fmt: skip
    return put_forward(policy, store, objects, terms, "sightings", by, output)


def propose_opinion(
    policy: Policy, store: ShareStore, output: str, indicator: str, to: str,
    agreement: Agreement, why: str, by: str,
) -> Proposal:  # fmt: skip
    """Proposes to tell what we think of an indicator, with a note that says why.

    Raises:
      DistilwatchError: the recipient's collection has not brought it, or the reason names an
        account of ours.
    """
    tables, terms = tables_at(output), policy.terms(to)
    found = [
        one for one in _from_there(policy, tables, to) if one.indicator_id.startswith(indicator)
    ]
    if len(found) != 1:
        raise DistilwatchError(
            f"{len(found)} indicators of {to} begin with {indicator}",
            tables.place,
            "`distilwatch share list --output …` shows them",
        )
    name, now_ms = found[0].indicator_id, store.now_ms()
    objects = [
        marking_object(terms.marking),
        identity_object(policy.lab),
        opinion_object(policy.lab, name, agreement, why, terms.marking, now_ms, now_ms),
        note_object(policy.lab, [name], agreement, why, terms.marking, now_ms),
    ]
    # What people write may name somebody; what we make ourselves has no names in it.
    named = tables.account_names(sorted(words_of(why)))
    return put_forward(policy, store, objects, terms, name, by, output, named)


def _from_there(policy: Policy, tables: SharedTables, to: str) -> list[Indicator]:
    """Indicators that the recipient's own collection has brought."""
    collection = policy.recipient(to).taxii
    feeds = {
        name
        for name, feed in policy.settings.feeds.items()
        if collection is not None and feed.taxii.url.rstrip("/") == collection.url.rstrip("/")
    }
    return [one for one in tables.indicators("received") if one.source in feeds]
