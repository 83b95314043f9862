"""From a confirmed cluster to a proposal: bytes that nobody has approved yet."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from pipelines.sharing.policy import Policy
from pipelines.sharing.store import Proposal, ShareStore
from pipelines.sharing.tables import Confirmed, confirmed, tables_at
from schemas.errors import DistilwatchError
from transforms.sharing.coverage import noisy_coverage
from transforms.sharing.evidence import unpack
from transforms.sharing.gate import check_outgoing
from transforms.sharing.indicators import Indicator, newest
from transforms.sharing.payloads import Coverage, decode_coverage
from transforms.sharing.select import Candidate, Case, Terms, candidates
from transforms.sharing.stix import Stix, bundle_of, is_constant, objects_of, signed_objects

_HOUR_MS = 3_600_000
_HEX32 = re.compile(r"\b[0-9a-f]{32}\b")


class Proposed(NamedTuple):
    """What became of a wish to tell.

    Attributes:
      proposal: None when nothing may leave, or nothing is new.
      candidates: all that could be told, with verdicts.
    """

    proposal: Proposal | None
    candidates: list[Candidate]


def propose(
    policy: Policy, store: ShareStore, output: str, cluster_id: str, to: str, by: str
) -> Proposed:
    """Makes a proposal of a confirmed cluster; nothing leaves.

    Args:
      policy, store: of this lab.
      output: duckdb:///file or bigquery://project/dataset, what `detect` wrote.
      cluster_id: or its first letters.
      to: recipient.
      by: who proposes.

    Raises:
      DistilwatchError: the cluster is not confirmed, or the policy has no such recipient.
    """
    terms = policy.terms(to)
    found = confirmed(tables_at(output), cluster_id)
    now_ms = store.now_ms()
    name = found.cluster["cluster_id"]
    case = Case(
        found.evidence, policy.lab, store.campaign(name),
        found.cluster["last_seen"] // _HOUR_MS * _HOUR_MS, now_ms,
    )  # fmt: skip
    verdicts = candidates(case, terms, lambda: _draw(store, found, terms, now_ms))
    verdicts = _against_sent(verdicts, store.sent(policy.lab), to)
    leaving = [one.indicator for one in verdicts if one.indicator is not None]
    if not leaving:
        return Proposed(None, verdicts)
    tactics = found.cluster["tactics"] if terms.tactics else ()
    objects = objects_of(leaving, tactics)
    return Proposed(
        put_forward(policy, store, objects, terms, name, by, output, found.accounts), verdicts
    )


def put_forward(
    policy: Policy, store: ShareStore, objects: Sequence[Stix], terms: Terms, about: str, by: str,
    output: str, accounts: Sequence[str] = (),
) -> Proposal:  # fmt: skip
    """Signs objects, looks at their bytes, and keeps them as a proposal.

    Args:
      objects: without signatures.
      terms: of the recipient.
      about: what they are about.
      by: who proposes.
      output: where the rows go, and whose names must not be in the bytes.
      accounts: whose names must not be in the bytes.
    """
    check_name(by)
    signed = signed_objects(objects, policy.key())
    data = bundle_of(signed)
    words = sorted(set(_HEX32.findall(data.decode())))
    payments = tables_at(output).payment_names(words) if output and words else []
    check_outgoing(data, terms, [*accounts, about if about.startswith("c-") else "", *payments])
    digest = store.keep(data)
    name = f"p-{digest[:12]}"
    if name not in {p.name for p in store.proposals()}:
        store.log.append(
            "propose", store.now_ms(), proposal=name, to=terms.recipient, about=about,
            digest=digest, size=len(data), objects=sum(not is_constant(o) for o in signed), by=by,
            output=output, policy=policy.digest,
        )  # fmt: skip
    return store.proposal(name)


def _draw(store: ShareStore, found: Confirmed, terms: Terms, now_ms: int) -> Coverage | str:
    """The sketch of a cluster: drawn once, and the same one ever after; or why there is none."""
    from transforms.sharing.privacy import epsilon_of, rho_of, sigma_for

    evidence = found.evidence
    key = {
        "cluster": evidence["cluster_id"],
        "window": evidence["window_start"],
        "revision": evidence["revision"],
        "epsilon": terms.epsilon,
        "delta": terms.delta,
    }
    while True:
        entries = store.log.entries()
        for entry in entries:
            if entry["action"] == "draw" and key.items() <= entry.items():
                return decode_coverage(base64.b64decode(entry["payload"]))
        tags, spent = store.account_tags(found.accounts), store.spent()
        rho = rho_of(sigma_for(terms.epsilon, terms.delta))
        most = max((spent.get(tag, 0.0) for tag in tags), default=0.0)
        total = epsilon_of(most + rho, terms.delta)
        if total > terms.epsilon_total:
            return (
                f"the budget is used up: an account in it would come to ε = {total:.2f}, above "
                f"{terms.epsilon_total:g}"
            )
        sketch = noisy_coverage(
            unpack(evidence["coverage"]), evidence["space"], evidence["embedding_model"],
            terms.epsilon, terms.delta,
        )  # fmt: skip
        payload = base64.b64encode(sketch.encode()).decode()
        if store.log.append_if(
            len(entries), "draw", now_ms, **key, rho=rho, accounts=tags, payload=payload
        ):
            return sketch


def _against_sent(
    verdicts: Sequence[Candidate], sent: dict[str, list[Indicator]], to: str
) -> list[Candidate]:
    """Gives indicators that have left before their next version; the same again is left out."""
    everywhere = newest([one for versions in sent.values() for one in versions])
    there = newest(sent.get(to, []))
    out = []
    for verdict in verdicts:
        one = verdict.indicator
        before = everywhere.get(one.indicator_id) if one else None
        if one is None or before is None:
            out.append(verdict)
        elif before.revoked:
            out.append(verdict._replace(indicator=None, why="it was taken back, which is for ever"))
        elif (known := there.get(one.indicator_id)) and _content(known) == _content(one):
            out.append(verdict._replace(indicator=None, why=f"{to} has it already"))
        else:
            later = max(one.modified_ms, before.modified_ms + 1)
            version = replace(
                one, created_ms=before.created_ms, modified_ms=later, revision=before.revision + 1
            )
            out.append(verdict._replace(indicator=version, why=f"version {version.revision}"))
    return out


def _content(one: Indicator) -> tuple[Any, ...]:
    return (
        one.value, one.payload, one.confidence, one.marking, one.method, one.valid_from_ms,
        one.valid_until_ms, one.revoked,
    )  # fmt: skip


def check_name(by: str) -> None:
    """Raises DistilwatchError when nobody is named."""
    if not by.strip():
        raise DistilwatchError("nobody is named", "--by", "say who does this")
