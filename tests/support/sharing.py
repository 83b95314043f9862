"""Labs that share: each with its own folder, keys, policy and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pipelines.sharing import signoff
from pipelines.sharing.policy import Policy, public_pem, read_policy
from pipelines.sharing.store import Proposal, ShareStore
from pipelines.sharing.tables import SharedTables, tables_at
from schemas.tables import TABLES
from transforms.alerts.dispositions import decide
from transforms.sharing.evidence import pack
from transforms.sharing.indicators import Kind
from transforms.sinks.duckdb import write_tables

NOW_MS = 1_790_000_000_000
CLUSTER = "c-0123456789abcdef"
WORDING, COMMON = "00000000aaaa01", "00000000bbbb02"


@dataclass
class Lab:
    """A lab under a folder.

    Attributes:
      name: as others know it.
      folder: with everything of it.
      now_ms: what its clock says.
      dataset: address of its tables in BigQuery; "" where they are a DuckDB file in its folder.
    """

    name: str
    folder: Path
    now_ms: int = NOW_MS
    dataset: str = ""

    @property
    def output(self) -> str:
        """The URI of its tables."""
        return self.dataset or f"duckdb:///{self.tables}"

    @property
    def shared(self) -> SharedTables:
        """Its tables, as sharing sees them."""
        return tables_at(self.output)

    def put(self, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Writes rows into its tables, as `detect` does."""
        found = {name: TABLES[name].to_arrow(part) for name, part in rows.items()}
        if self.dataset:
            from transforms.sinks.bigquery.write import BigQuerySink

            BigQuerySink(self.dataset, "r1").write(found)
        else:
            write_tables(self.tables, found)

    @property
    def tables(self) -> Path:
        return self.folder / "out.duckdb"

    @property
    def policy(self) -> Policy:
        return read_policy(self.folder / "sharing.yaml")

    @property
    def store(self) -> ShareStore:
        return ShareStore(self.folder / "store", lambda: self.now_ms / 1000)


def make_lab(
    name: str,
    folder: Path,
    collection: Mapping[str, Any] | None,
    trusts: Sequence[Lab] = (),
    dataset: str = "",
    **recipient: Any,
) -> Lab:
    """A lab with a key, and a policy with one recipient and one feed, both called forum.

    Args:
      name: of the lab.
      folder: for it.
      collection: as the section taxii has it; None for files only.
      trusts: labs whose keys it knows.
      dataset: address of its tables in BigQuery; "" for a file.
      recipient: settings of the recipient.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lab = Lab(name, folder, dataset=dataset)
    write_policy(lab, collection, trusts, **recipient)
    (folder / "public.pem").write_text(public_pem(lab.policy), encoding="utf-8")
    lab.put({})
    return lab


def write_policy(
    lab: Lab, collection: Mapping[str, Any] | None, trusts: Sequence[Lab] = (), **recipient: Any
) -> None:
    """Replaces a lab's policy; see `make_lab`."""
    key = lab.folder / "signing.pem"
    if not key.exists():
        from pipelines.sharing.policy import _make_key

        _make_key(key)
    kinds = [kind.value for kind in Kind if kind is not Kind.NETWORK]
    policy: dict[str, Any] = {
        "lab": lab.name,
        "signing_key": str(key),
        "recipients": {"forum": {"kinds": kinds, "epsilon": 2.0, **recipient}},
    }
    if collection is not None:
        policy["recipients"]["forum"]["taxii"] = dict(collection)
    if trusts:
        policy["feeds"] = {
            "forum": {
                "taxii": dict(collection or {"url": "https://forum.invalid/"}),
                "trusted": {other.name: str(other.folder / "public.pem") for other in trusts},
            }
        }
    (lab.folder / "sharing.yaml").write_text(yaml.safe_dump(policy), encoding="utf-8")


def add_cluster(
    lab: Lab,
    accounts: int = 40,
    cluster: str = CLUSTER,
    revision: int = 900,
    confirm: bool = True,
    first: int = 0,
    others: Mapping[str, int] | None = None,
) -> list[str]:
    """Puts a flagged cluster into a lab's tables, and returns its accounts.

    All members share a thing of each kind in `others`, which says how many other accounts have it.
    """
    others = {"prefix_scaffold": 0, "client": 50, "network": 0} if others is None else others
    names = [f"acct-{cluster[-4:]}-{i:04d}" for i in range(first, first + accounts)]
    start = NOW_MS - 86_400_000
    coverage = np.zeros(1024, np.int64)
    coverage[:30] = accounts * 65_535 // 6
    rows: dict[str, list[dict[str, Any]]] = {
        "flagged_clusters": [
            {
                "cluster_id": cluster, "revision": revision, "window_start": start,
                "window_end": NOW_MS, "status": "open", "severity": "high", "score": 5.0,
                "p_value": 1e-5, "first_seen": start + 1, "last_seen": NOW_MS - 1_234_567,
                "account_count": accounts, "request_count": revision, "tactics": ["hydra"],
            }
        ],
        "cluster_members": [
            {"cluster_id": cluster, "revision": revision, "account_id": name, "since": start,
             "window_start": start}
            for name in names
        ],
        "cluster_evidence": [
            {
                "cluster_id": cluster, "window_start": start, "revision": revision,
                "window_end": NOW_MS, "account_count": accounts,
                "features": [
                    {"name": "complementarity", "value": 1.0, "normal_low": 0.1,
                     "normal_high": 0.3, "z": 7.26},
                    {"name": "overlap", "value": 1.0, "normal_low": 0.1, "normal_high": 0.3,
                     "z": -31.0},
                ],
                "things": [
                    {"kind": kind, "thing": COMMON if kind in ("client", "network") else WORDING,
                     "members": accounts, "others": count}
                    for kind, count in others.items()
                ],
                "coverage": pack(coverage), "space": "ab" * 16,
                "embedding_model": "distilwatch-hashing-v1",
            }
        ],
    }  # fmt: skip
    lab.put(rows)
    if confirm:
        lab.shared.decided.decisions.append(
            decide({"cluster_id": cluster}, names, "confirm", by="ana", why="seen", at_ms=NOW_MS)
        )
    return names


def taken_back(lab: Lab, what: str, why: str) -> list[Proposal]:
    """Proposals that take back what has left, of ana, which are there for every recipient."""
    made = signoff.take_back(lab.policy, lab.store, what, why, "ana")
    for refused in made.left.values():
        raise refused
    return made.proposals
