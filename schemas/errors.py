"""The one error that is meant for people."""

from __future__ import annotations


class DistilwatchError(Exception):
    """Something that the user can mend.

    Attributes:
      what: what is wrong.
      where: file, setting or address.
      mend: what to do about it.
    """

    def __init__(self, what: str, where: str = "", mend: str = "") -> None:
        super().__init__(what, where, mend)
        self.what, self.where, self.mend = what, where, mend

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        return f"{self.what}{place}" + (f": {self.mend}" if self.mend else "")
