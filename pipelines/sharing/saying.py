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


def propose_sightings(
    policy: Policy, store: ShareStore, output: str, to: str, by: str, polled: str | None = None
) -> Proposal:
    """Proposes to tell that indicators of others were seen here.

    Only of indicators that came from the same collection that the recipient is, so that nobody
    hears of an indicator from us. Says nothing of accounts, and rounds counts and times. Nor of
    what is only alike: some benign groups are, and nobody else could tell them apart. Nor of what
    fewer accounts have than must share a thing before it is told of (`limits.least_members`): that
    would tell of one customer's request.

    Args:
      policy, store: of this lab.
      output: tables with the sightings, of `detect`.
      to: recipient.
      by: who proposes.
      polled: tables with what others told; `output` without.

    Raises:
      DistilwatchError: nothing of it was seen, or with too few accounts.
    """
    tables, terms = tables_at(output), policy.terms(to)
    told = tables_at(polled) if polled else tables
    known = {one.indicator_id for one in _from_there(policy, told, to) if not one.kind.compared}
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    count: dict[str, int] = {}
    accounts: dict[str, set[str]] = {}
    now_ms = store.now_ms()
    for seen in tables.sightings():
        name = seen.indicator_id
        if name in known:
            first[name] = min(first.get(name, seen.first_seen_ms), seen.first_seen_ms)
            last[name] = max(last.get(name, seen.last_seen_ms), seen.last_seen_ms)
            count[name] = count.get(name, 0) + seen.count
            accounts.setdefault(name, set()).add(seen.account_id)
    enough = {name for name, who in accounts.items() if len(who) >= terms.least_members}
    if count and not enough:
        raise DistilwatchError(
            f"no indicator of {to} was seen with {terms.least_members} accounts or more",
            tables.place,
            "wait until more were; limits.least_members of the policy says how many",
        )
    if not count:
        raise DistilwatchError(
            f"no indicator of {to} was seen here",
            tables.place,
            "poll, and run `distilwatch detect`; --from names the tables that were polled into, "
            "where they are others",
        )
    objects = [marking_object(terms.marking), identity_object(policy.lab)]
    objects += [
        sighting_object(
            policy.lab, name, first[name], last[name], count[name], terms.marking,
            first[name] // _HOUR_MS * _HOUR_MS, max(now_ms, first[name]),
        )
        for name in sorted(enough)
    ]  # fmt: skip
    return put_forward(policy, store, objects, terms, "sightings", by, output)


def propose_opinion(
    policy: Policy, store: ShareStore, output: str, indicator: str, to: str,
    agreement: Agreement, why: str, by: str, polled: str | None = None,
) -> Proposal:  # fmt: skip
    """Proposes to tell what we think of an indicator, with a note that says why.

    Args:
      policy, store: of this lab.
      output: tables with our accounts, of `detect`.
      indicator: its id, or the first letters.
      to: recipient.
      agreement, why: what we think, and why.
      by: who proposes.
      polled: tables with what others told; `output` without.

    Raises:
      DistilwatchError: the recipient's collection has not brought it, the reason names an account
        of ours, or there are no accounts that could be looked for in it.
    """
    tables, terms = tables_at(output), policy.terms(to)
    told = tables_at(polled) if polled else tables
    if not tables.has_accounts():
        raise DistilwatchError(
            "there are no accounts in it, so nobody can say whether the reason names one",
            tables.place,
            "give the --output of `distilwatch detect`, and with --from the tables that were "
            "polled into",
        )
    found = [one for one in _from_there(policy, told, to) if one.indicator_id.startswith(indicator)]
    if len(found) != 1:
        raise DistilwatchError(
            f"{len(found)} indicators of {to} begin with {indicator}",
            told.place,
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
