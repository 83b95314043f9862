"""What an output says of the rows that it was given."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Delivery:
    """What became of rows.

    Attributes:
      sent: rows that were given to the output.
      arrived: rows that it confirms to have.
      refused: rows that it does not take; each is a dead letter.
    """

    sent: int = 0
    arrived: int = 0
    refused: int = 0

    def __add__(self, other: Delivery) -> Delivery:
        return Delivery(
            self.sent + other.sent, self.arrived + other.arrived, self.refused + other.refused
        )

    def as_dict(self) -> dict[str, int]:
        """For machines."""
        return {"sent": self.sent, "arrived": self.arrived, "refused": self.refused}

    def line(self, place: str) -> str:
        """For people."""
        refused = (
            f"; {self.refused:,} were refused and are in the table dead_letters"
            if self.refused
            else ""
        )
        return f"{place}: {self.sent:,} rows sent, {self.arrived:,} arrived{refused}."
