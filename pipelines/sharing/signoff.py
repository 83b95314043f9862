"""What people do with proposals: approve, reject, publish, and take back what has left."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from pipelines.sharing.outbound import check_name, put_forward
from pipelines.sharing.policy import Policy, place_of
from pipelines.sharing.store import (
    APPROVED,
    PROPOSED,
    SENDING,
    SENT,
    Proposal,
    ShareStore,
    write_whole,
)
from pipelines.sharing.tables import tables_if_there
from schemas.errors import DistilwatchError
from transforms.sharing.gate import check_outgoing
from transforms.sharing.indicators import Indicator, newest
from transforms.sharing.receive import indicator_of
from transforms.sharing.stix import is_constant, objects_of


def approve(policy: Policy, store: ShareStore, name: str, digest: str, by: str) -> Proposal:
    """Signs off the bytes of a proposal.

    Args:
      name: of the proposal, or its first letters.
      digest: at least the first twelve digits of the SHA-256 that the preview shows: who approves
        says what they have looked at.
      by: who; must not be who proposed, where the policy wants two people.

    Raises:
      DistilwatchError: it is not waiting for that, or the gate stops it.
    """
    proposal = store.proposal(name)
    check_name(by)
    if proposal.state != PROPOSED:
        raise _wrong_state(proposal, "approved")
    if len(digest) < 12 or not proposal.digest.startswith(digest):
        raise DistilwatchError(
            f"{digest} is not what {proposal.name} would send",
            str(store.folder),
            f"look at `distilwatch share preview {proposal.name}`, and give the SHA-256 it shows",
        )
    _check_two_people(policy, proposal, by)
    terms = policy.terms(proposal.to)
    check_outgoing(store.read(proposal.digest), terms, now_ms=store.now_ms())
    return _decided(
        store, proposal, "approved", "approve", digest=proposal.digest, by=by, policy=policy.digest
    )


def reject(store: ShareStore, name: str, why: str, by: str) -> Proposal:
    """Ends a proposal that has not left."""
    proposal = store.proposal(name)
    check_name(by)
    if proposal.state not in (PROPOSED, APPROVED):
        raise _wrong_state(proposal, "rejected")
    return _decided(store, proposal, "rejected", "reject", by=by, why=why)


def publish(
    policy: Policy, store: ShareStore, name: str, by: str, file: Path | None = None
) -> Proposal:
    """Sends what was approved: those bytes, and no others.

    The log says so before anything leaves, and again afterwards; what was interrupted in between is
    sent again by the same command, which changes nothing at the server.

    Args:
      name: of the proposal, or its first letters.
      by: who sends it.
      file: write the bytes there instead of to the recipient's collection.

    Raises:
      DistilwatchError: nobody has approved it, or nobody who may by today's policy, the gate stops
        it, or the server does not take it.
    """
    from transforms.sharing import taxii

    proposal = store.proposal(name)
    check_name(by)
    if proposal.state not in (APPROVED, SENDING):
        raise _wrong_state(proposal, "published")
    data = store.read(proposal.digest)
    objects = check_outgoing(data, policy.terms(proposal.to), now_ms=store.now_ms())
    if not _takes_back(objects):
        _check_two_people(policy, proposal, proposal.approved_by)
    collection = policy.recipient(proposal.to).taxii
    if file is None and collection is None:
        raise DistilwatchError(
            f"{proposal.to} has no collection",
            f"{policy.file}, recipients.{proposal.to}.taxii",
            "name one, or give --file and hand that over",
        )
    where = str(file) if file is not None else collection.url if collection else ""
    _decided(
        store, proposal, "published", "send", digest=proposal.digest, by=by, where=where,
        policy=policy.digest,
    )  # fmt: skip
    if file is not None:
        write_whole(file, data)
    elif collection is not None:
        taxii.publish(place_of(proposal.to, collection), objects)
    # Before the log is at its end: else a failure here could not be mended.
    for output, rows in _rows(store, proposal, objects, policy.lab).items():
        tables = tables_if_there(output)
        if tables is not None:
            tables.write(rows, "shared")
    store.log.append("sent", store.now_ms(), proposal=proposal.name, by=by, where=where)
    return store.proposal(proposal.name)


def _rows(
    store: ShareStore, proposal: Proposal, objects: Sequence[Mapping[str, Any]], lab: str
) -> dict[str, list[Indicator]]:
    """Indicators that leave, by the tables that are to know of it: of those that are taken back the
    tables that they came from."""
    ours = [indicator_of(o, lab) for o in objects if o["type"] == "indicator"]
    found: dict[str, list[Indicator]] = {}
    if ours and _takes_back(objects):
        for one in store.proposals():
            if one.output and one.to == proposal.to and one.state in (SENDING, SENT):
                its = {i.indicator_id for i in _indicators(store, one, lab)}
                rows = [i for i in ours if i.indicator_id in its]
                known = found.setdefault(one.output, [])
                known += [i for i in rows if i not in known]
    elif ours and proposal.output:
        found[proposal.output] = ours
    return {output: rows for output, rows in found.items() if rows}


def _check_two_people(policy: Policy, proposal: Proposal, by: str) -> None:
    """Raises DistilwatchError when who approves has proposed, and the policy wants two people."""
    if policy.recipient(proposal.to).two_people and same_person(by, proposal.proposed_by):
        raise DistilwatchError(
            f"{proposal.proposed_by} has proposed it, and somebody else must approve it",
            f"{policy.file}, recipients.{proposal.to}.two_people",
            f"ask a colleague to look at `distilwatch share preview {proposal.name}`"
            if proposal.state == PROPOSED
            else f"`distilwatch share reject {proposal.name}`, propose again, and let a colleague "
            "approve it",
        )


def same_person(one: str, other: str) -> bool:
    """Whether two names differ by no more than blanks, case, or how their letters are encoded."""
    return _plain_name(one) == _plain_name(other)


def _plain_name(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _takes_back(objects: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a bundle says nothing but that what has left holds no more."""
    said = [o for o in objects if not is_constant(o) and o["type"] != "identity"]
    return all(o.get("revoked") is True for o in said)


class TakenBack(NamedTuple):
    """What came of taking something back.

    Attributes:
      proposals: for each recipient that had it, approved already, to be published.
      left: recipients that had it and for which none can be made, and why.
    """

    proposals: list[Proposal]
    left: dict[str, DistilwatchError]


def take_back(policy: Policy, store: ShareStore, what: str, why: str, by: str) -> TakenBack:
    """Proposals that take back what has left, approved already: taking back needs no second person.

    One that was made before, and has not reached its recipient as far as the log knows, is given
    again: the server may have been down.

    Args:
      what: an indicator's id, a campaign, a proposal or a cluster, or letters that only one of
        these begins with.
      why: for the log; does not leave.
      by: who takes it back.

    Raises:
      DistilwatchError: nothing of that has left, or several of these begin so.
    """
    check_name(by)
    what = _one_of(store, policy.lab, what)
    proposals = store.proposals()
    campaigns = {store.campaign(p.about) for p in proposals if p.about == what}
    found: list[Proposal] = []
    left: dict[str, DistilwatchError] = {}
    for to, versions in store.sent(policy.lab).items():
        in_named = {
            i.indicator_id
            for p in proposals
            if p.name == what and p.to == to
            for i in _indicators(store, p, policy.lab)
        }
        meant = {
            name: one
            for name, one in newest(versions).items()
            if name == what or name in in_named or one.campaign in {*campaigns, what}
        }
        begun, covered = _begun(store, proposals, to, meant, policy.lab)
        found += begun
        hit = [one for name, one in meant.items() if not one.revoked and name not in covered]
        if not hit:
            continue
        try:
            found.append(_back(policy, store, hit, to, what, why, by))
        except DistilwatchError as refused:  # the others are told nevertheless
            left[to] = refused
    if not found and not left:
        raise _nothing(store, what)
    return TakenBack(found, left)


def _begun(
    store: ShareStore, proposals: Sequence[Proposal], to: str, meant: Mapping[str, Indicator],
    lab: str,
) -> tuple[list[Proposal], set[str]]:  # fmt: skip
    """Proposals that take some of this back and have not arrived, as far as we know, and ids that
    need no other one."""
    found: list[Proposal] = []
    covered: set[str] = set()
    for one in proposals:
        if one.to != to or one.state not in (APPROVED, SENDING):
            continue
        if not _takes_back(orjson.loads(store.read(one.digest))["objects"]):
            continue
        last = {
            i.indicator_id
            for i in _indicators(store, one, lab)
            if i.indicator_id in meant and i.modified_ms >= meant[i.indicator_id].modified_ms
        }
        if last:
            found.append(one)
            covered |= last
    return found, covered


def _back(
    policy: Policy, store: ShareStore, hit: Sequence[Indicator], to: str, what: str, why: str,
    by: str,
) -> Proposal:  # fmt: skip
    """An approved proposal that takes indicators back from a recipient."""
    now_ms = max(store.now_ms(), *(one.modified_ms + 1 for one in hit))
    back = [
        replace(one, revoked=True, modified_ms=now_ms, revision=one.revision + 1) for one in hit
    ]
    # Its rows go where those went that it takes back: see `_rows`.
    proposal = put_forward(
        policy, store, objects_of(back, campaigns=False), policy.terms(to), f"revoke {what}", by, ""
    )
    if proposal.state == PROPOSED:
        store.log.append(
            "approve", store.now_ms(), proposal=proposal.name, digest=proposal.digest, by=by,
            why=why, policy=policy.digest,
        )  # fmt: skip
    return store.proposal(proposal.name)


def publish_each(
    policy: Policy, store: ShareStore, proposals: Sequence[Proposal], by: str
) -> tuple[list[Proposal], dict[str, DistilwatchError]]:
    """Publishes proposals to those recipients that have a collection, whatever becomes of others.

    Returns:
      Proposals as they are then, and why some did not arrive, by name.
    """
    done: list[Proposal] = []
    failed: dict[str, DistilwatchError] = {}
    for one in proposals:
        try:
            if policy.recipient(one.to).taxii is not None:
                publish(policy, store, one.name, by)
        except DistilwatchError as error:
            failed[one.name] = error
        done.append(store.proposal(one.name))
    return done, failed


def _one_of(store: ShareStore, lab: str, what: str) -> str:
    """The whole name of what is to be taken back, which is for ever: no guess will do."""
    named: set[str] = set()
    for proposal in store.proposals():
        if proposal.state in (SENDING, SENT):
            named.add(proposal.name)
            if proposal.about.startswith("c-"):
                named.add(proposal.about)
    for versions in store.sent(lab).values():
        for one in versions:
            named |= {one.indicator_id, one.campaign} - {""}
    found = sorted(name for name in named if what and name.startswith(what))
    if what in named:
        return what
    if len(found) > 1:
        raise DistilwatchError(
            f"{len(found)} begin with {what}: {', '.join(found[:4])}{', …' if found[4:] else ''}",
            str(store.folder),
            "taking back is for ever: give more letters",
        )
    if not found:
        raise _nothing(store, what)
    return found[0]


def _nothing(store: ShareStore, what: str) -> DistilwatchError:
    return DistilwatchError(
        f"nothing that begins with {what or 'nothing'} has left, or all of it was taken back",
        str(store.folder),
        "`distilwatch share list` shows what has left",
    )


def _indicators(store: ShareStore, proposal: Proposal, lab: str) -> list[Indicator]:
    objects = orjson.loads(store.read(proposal.digest))["objects"]
    return [indicator_of(o, lab) for o in objects if o["type"] == "indicator"]


def _decided(
    store: ShareStore, proposal: Proposal, wanted: str, action: str, **what: str
) -> Proposal:
    """Logs a decision, unless somebody else has decided since the proposal was read."""
    while True:
        known = len(store.log.entries())
        now = store.proposal(proposal.name)
        if now.state != proposal.state:
            raise _wrong_state(now, wanted)
        if store.log.append_if(known, action, store.now_ms(), proposal=now.name, **what):
            return store.proposal(now.name)


def _wrong_state(proposal: Proposal, wanted: str) -> DistilwatchError:
    mend = {
        PROPOSED: f"`distilwatch share approve {proposal.name}` first",
        APPROVED: "publish or reject it",
        SENDING: f"`distilwatch share publish {proposal.name}` again",
    }.get(proposal.state, "propose anew")
    return DistilwatchError(
        f"{proposal.name} is {proposal.state} and cannot be {wanted}", "share list", mend
    )
