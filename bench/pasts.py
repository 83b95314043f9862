"""How much of the ranking is due to having a past: accounts that the history had, and new ones.

`python -m bench.pasts --output duckdb:///out.duckdb --labels labels.jsonl` takes what `detect`
wrote about labelled traffic whose history was split off, and ranks the two kinds of account apart.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.judge import Account, ranking
from pipelines.labels import read_labels
from pipelines.metrics import auroc, threshold_at
from pipelines.tables import read_accounts
from transforms.sinks import duckdb_path


def table(accounts: Sequence[Account], known: frozenset[str]) -> list[str]:
    """Lines for people.

    Args:
      accounts: all that were judged.
      known: those that the history had.
    """
    out = ["| accounts | benign | attacking | AUROC | recall at 1 % of benign |"]
    out.append("|---|---:|---:|---:|---:|")
    kinds = {"all": (True, False), "in the history": (True,), "new": (False,)}
    for name, wanted in kinds.items():
        own = [account for account in accounts if (account.account in known) in wanted]
        attack = np.array([account.attack for account in own], bool)
        if attack.all() or not attack.any():
            out.append(f"| {name} | {(~attack).sum()} | {attack.sum()} | – | – |")
            continue
        ranks = ranking(own)
        recall = float((ranks[attack] > threshold_at(ranks[~attack], 0.01)).mean())
        area = auroc(ranks, attack)
        out.append(f"| {name} | {(~attack).sum()} | {attack.sum()} | {area:.3f} | {recall:.1%} |")
    return out


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser("python -m bench.pasts", description=__doc__)
    parser.add_argument(
        "--output", required=True, help="what `detect` wrote: duckdb:///file.duckdb"
    )
    parser.add_argument("--labels", type=Path, required=True, help="what `simulate` wrote")
    args = parser.parse_args(argv)
    accounts, _, _ = read_accounts(duckdb_path(args.output), args.labels)
    labels = read_labels(args.labels)
    known = frozenset(name for name, label in labels.items() if label.split == "both")
    print("\n".join(table(accounts, known)))


if __name__ == "__main__":
    main()
