"""The truth of simulated traffic: JSON lines, one account each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import DistilwatchError


@dataclass(frozen=True, slots=True)
class Label:
    """What an account really is.

    Attributes:
      account: its id.
      attack: whether it belongs to a campaign.
      kind: person, business … or the kind of attack.
      campaign: "" when it has none.
      split: history, live or both.
    """

    account: str
    attack: bool
    kind: str
    campaign: str
    split: str


def read_labels(path: Path) -> dict[str, Label]:
    """Reads labels by account.

    Raises:
      DistilwatchError: naming the line, when the file or a line of it cannot be read.
    """
    found: dict[str, Label] = {}
    where = f"--labels {path}"
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    label = _label(line, f"{where}, line {number}")
                    found[label.account] = label
    except OSError as error:
        raise DistilwatchError(
            f"the labels cannot be read ({error.strerror})", where, "check the file"
        ) from error
    except UnicodeDecodeError as error:
        raise DistilwatchError("the labels are not UTF-8 text", where, "check the file") from error
    if not found:
        raise DistilwatchError("there are no labels", where, "`distilwatch simulate` writes some")
    return found


def _label(line: str, where: str) -> Label:
    mend = 'a line is {"account_id": "…", "label": "benign" or "attack", "kind": "…"}'
    try:
        row = json.loads(line)
    except ValueError:
        raise DistilwatchError("is not JSON", where, mend) from None
    if not isinstance(row, dict) or not isinstance(row.get("account_id"), str):
        raise DistilwatchError("has no account_id", where, mend)
    if row.get("label") not in ("benign", "attack"):
        raise DistilwatchError(f"has the label {row.get('label')!r}", where, mend)
    return Label(
        row["account_id"],
        row["label"] == "attack",
        str(row.get("kind") or row["label"]),
        str(row.get("campaign_id") or ""),
        str(row.get("split") or "both"),
    )
