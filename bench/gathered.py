"""What a run gathered of its clusters, as another lab could be told of them."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np

from transforms.sharing.coverage import UNIT
from transforms.sharing.evidence import unpack
from transforms.sharing.payloads import Behaviour, Coverage, rounded_score
from transforms.sharing.watch.listing import LIVE, Watched

_CLUSTERS = """
    SELECT cluster_id, c.p_value, accounts, e.features, e.coverage, space, embedding_model FROM (
        SELECT cluster_id, window_start, revision, list(account_id) AS accounts
        FROM cluster_members GROUP BY ALL)
    JOIN cluster_evidence e USING (cluster_id, window_start, revision)
    JOIN current_clusters c USING (cluster_id, window_start, revision)
    ORDER BY c.p_value, cluster_id"""


@dataclass(frozen=True)
class Group:
    """A cluster.

    Attributes:
      name: its id.
      accounts: of it.
      p_value: by what the run saw.
      behaviour, coverage: its very signature, and what it asks without any noise.
    """

    name: str
    accounts: frozenset[str]
    p_value: float
    behaviour: Behaviour
    coverage: Coverage


def gathered(database: Path) -> list[Group]:
    """Clusters of a run for which evidence was gathered, by p-value."""
    with duckdb.connect(str(database), read_only=True) as connection:
        rows = connection.execute(_CLUSTERS).fetchall()
    return [
        Group(
            name, frozenset(accounts), p_value,
            Behaviour({f["name"]: float(rounded_score(np.array(f["z"]))) for f in features}),
            Coverage(space, model, unpack(coverage), UNIT, 1e-9, 1.0, 1e-6),
        )
        for name, p_value, accounts, features, coverage, space, model in rows
    ]  # fmt: skip


def compared(payload: Behaviour | Coverage, name: str, source: str, confidence: float) -> Watched:
    """An entry of a watch list that is compared, and not looked up.

    Args:
      payload: that another lab tells.
      name: of what it is about.
      source: the lab.
      confidence: of the indicator, 0 to 1.
    """
    kind = "behaviour" if isinstance(payload, Behaviour) else "coverage"
    data = base64.b64encode(payload.encode()).decode()
    return Watched(
        f"indicator--{kind}-{name}", kind, "", source, confidence, 1 << 42, None, LIVE, data
    )
