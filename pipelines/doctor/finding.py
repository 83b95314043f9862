"""What was found of one thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from schemas.errors import DistilwatchError

OK, WARN, FAIL, SKIP = "ok", "warn", "fail", "skip"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
      part: machine, program, settings, keys, bundle, input, output or engine.
      name: of the thing.
      status: ok; warn, works, but something will go wrong one day; fail, a run would not start;
        skip, not looked at.
      said: what was seen.
      mend: what to do; "" where nothing is to be done.
    """

    part: str
    name: str
    status: str
    said: str
    mend: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


def looked(
    part: str, name: str, look: Callable[[], str | Finding], otherwise: str = FAIL
) -> Finding:
    """Runs one check.

    Args:
      part, name: of the finding.
      look: says what was seen, or makes the finding itself; a DistilwatchError is its bad news.
      otherwise: status of such news.
    """
    try:
        seen = look()
    except DistilwatchError as problem:
        where = f" ({problem.where})" if problem.where else ""
        return Finding(part, name, otherwise, f"{problem.what}{where}", problem.mend)
    except Exception as error:
        # Whatever a driver raises here, the other things are still worth looking at.
        said = f"could not be looked at: {type(error).__name__}: {error}"
        return Finding(part, name, otherwise, said, "see whether it is reachable by other means")
    return seen if isinstance(seen, Finding) else Finding(part, name, OK, seen)
