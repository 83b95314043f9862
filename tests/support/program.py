"""Imported first by the process that commands are forked from.

DuckDB asks once, when it is imported, whether the program has a file. One without, as that
process is, it takes for a person's session, and writes among the results how far a query is. And
numpy asks then how many threads it shall have, which the command says before it imports it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipelines import numerical_threads

COMMAND = Path(sys.executable).with_name("distilwatch")

if not hasattr(sys.modules["__main__"], "__file__"):
    sys.modules["__main__"].__file__ = str(COMMAND)
numerical_threads.only_one()
