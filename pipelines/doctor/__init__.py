"""Looks at everything that a run would need, and says how to mend what is not as it should be."""

from pipelines.doctor.finding import FAIL, OK, SKIP, WARN, Finding, looked
from pipelines.doctor.visit import Subject, examine

__all__ = ["FAIL", "OK", "SKIP", "WARN", "Finding", "Subject", "examine", "looked"]
