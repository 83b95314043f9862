"""Parsers of what others send, with inputs that are nearly right; `make fuzz` goes on longer."""

from __future__ import annotations

import pytest

from tests.fuzz.__main__ import fuzz
from tests.fuzz.targets import TARGETS, Target


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_a_parser_reads_or_refuses(target: Target) -> None:
    for value in target.good:
        target.run(value, must_read=True)
    assert not fuzz(target, 1, 60)
