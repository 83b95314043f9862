"""What people do with proposals: approve, reject, publish, and take back what has left."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

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
    ours = [indicator_of(o, policy.lab) for o in objects if o["type"] == "indicator"]
    tables = tables_if_there(proposal.output) if proposal.output and ours else None
    if tables is not None:  # before the log is at its end: else a failure here could not be mended
        tables.write(ours, "shared")
    store.log.append("sent", store.now_ms(), proposal=proposal.name, by=by, where=where)
    return store.proposal(proposal.name)


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


def revoke(policy: Policy, store: ShareStore, what: str, why: str, by: str) -> list[Proposal]:
    """Proposals that take back what has left, approved already: taking back needs no second person.

    Args:
      what: an indicator's id, a campaign, a proposal or a cluster, or letters that only one of
        these begins with.
      why: for the log; does not leave.
      by: who takes it back.

    Returns:
      A proposal for each recipient that had it, to be published.

    Raises:
      DistilwatchError: nothing of that has left, or several of these begin so.
    """
    check_name(by)
    what = _one_of(store, policy.lab, what)
    about = {p.digest: p for p in store.proposals()}
    campaigns = {store.campaign(p.about) for p in about.values() if p.about == what}
    names = {p.name for p in about.values() if p.name == what}
    found = []
    for to, versions in store.sent(policy.lab).items():
        in_named = {
            i.indicator_id
            for p in about.values()
            if p.name in names and p.to == to
            for i in _indicators(store, p, policy.lab)
        }
        hit = [
            one
            for one in newest(versions).values()
            if not one.revoked
            and (
                one.indicator_id == what
                or one.indicator_id in in_named
                or one.campaign in campaigns
                or one.campaign == what
            )
        ]
        if not hit:
            continue
        now_ms = max(store.now_ms(), *(one.modified_ms + 1 for one in hit))
        back = [
            replace(one, revoked=True, modified_ms=now_ms, revision=one.revision + 1) for one in hit
        ]
        output = next((p.output for p in about.values() if p.to == to and p.output), "")
        proposal = put_forward(
            policy, store, objects_of(back, campaigns=False), policy.terms(to), f"revoke {what}",
            by, output,
        )  # fmt: skip
        if proposal.state == PROPOSED:
            store.log.append(
                "approve", store.now_ms(), proposal=proposal.name, digest=proposal.digest, by=by,
                why=why, policy=policy.digest,
            )  # fmt: skip
        found.append(store.proposal(proposal.name))
    if not found:
        raise _nothing(store, what)
    return found


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
