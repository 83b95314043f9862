"""What a stream needs to run on each engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Engine:
    """What a stream needs to run on one.

    Attributes:
      prism: its binary, where it is the one.
      options: of the command.
      settings: more of them, as YAML.
      goes_on: it starts from a savepoint; others begin with the topic.
    """

    prism: Path | None = None
    options: tuple[str, ...] = ()
    settings: str = ""
    goes_on: bool = False
