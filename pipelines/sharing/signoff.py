"""What people do with proposals: approve, reject, publish, and take back what has left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson

from pipelines.sharing.outbound import check_name, put_forward
from pipelines.sharing.policy import Policy, place_of
from pipelines.sharing.store import APPROVED, PROPOSED, SENDING, Proposal, ShareStore
from pipelines.sharing.tables import tables_if_there
from schemas.errors import DistilwatchError
from transforms.sharing.gate import check_outgoing
from transforms.sharing.indicators import Indicator, newest
from transforms.sharing.receive import indicator_of
from transforms.sharing.stix import objects_of


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
    two = policy.recipient(proposal.to).two_people
    if two and by.casefold() == proposal.proposed_by.casefold():
        raise DistilwatchError(
            f"{by} has proposed it, and somebody else must approve it",
            f"{policy.file}, recipients.{proposal.to}.two_people",
            "ask a colleague to look at the preview",
        )
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
      DistilwatchError: nobody has approved it, the gate stops it, or the server does not take it.
    """
    from transforms.sharing import taxii

    proposal = store.proposal(name)
    check_name(by)
    if proposal.state not in (APPROVED, SENDING):
        raise _wrong_state(proposal, "published")
    data = store.read(proposal.digest)
    objects = check_outgoing(data, policy.terms(proposal.to), now_ms=store.now_ms())
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
        file.write_bytes(data)
    elif collection is not None:
        taxii.publish(place_of(proposal.to, collection), objects)
    ours = [indicator_of(o, policy.lab) for o in objects if o["type"] == "indicator"]
    tables = tables_if_there(proposal.output) if proposal.output and ours else None
    if tables is not None:  # before the log is at its end: else a failure here could not be mended
        tables.write(ours, "shared")
    store.log.append("sent", store.now_ms(), proposal=proposal.name, by=by, where=where)
    return store.proposal(proposal.name)


def revoke(policy: Policy, store: ShareStore, what: str, why: str, by: str) -> list[Proposal]:
    """Proposals that take back what has left, approved already: taking back needs no second person.

    Args:
      what: an indicator's id, a campaign, a proposal or a cluster, or the first letters of one.
      why: for the log; does not leave.
      by: who takes it back.

    Returns:
      A proposal for each recipient that had it, to be published.

    Raises:
      DistilwatchError: nothing of that has left.
    """
    check_name(by)
    about = {p.digest: p for p in store.proposals()}
    campaigns = {store.campaign(p.about) for p in about.values() if p.about.startswith(what)}
    names = {p.name for p in about.values() if p.name.startswith(what)}
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
                one.indicator_id.startswith(what)
                or one.indicator_id in in_named
                or one.campaign in campaigns
                or one.campaign.startswith(what)
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
        raise DistilwatchError(
            f"nothing that begins with {what} has left, or all of it was taken back",
            str(store.folder),
            "`distilwatch share list` shows what has left",
        )
    return found


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
