"""Identifiers in their canonical form, sealed, and in a file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from schemas.errors import DistilwatchError
from tests.support.two_labs import Lab
from transforms.sharing.private.identifiers import (
    DEVICE,
    NETWORK,
    PAYMENT,
    canonical,
    point_of,
)
from transforms.sharing.private.sealed import read_sealed, write_sealed


def test_canonical_forms() -> None:
    assert canonical(PAYMENT, " ＡＢ-12 34 ") == canonical(PAYMENT, "ab1234") == b"ab1234"
    assert canonical(DEVICE, "T13-x") == b"t13-x"
    assert canonical(NETWORK, " 203.0.113.9/24") == canonical(NETWORK, "203.0.113.0/24")
    assert canonical(NETWORK, "2001:DB8::/48") == canonical(NETWORK, "2001:db8:0:0::/48")
    assert point_of(PAYMENT, "ab") != point_of(DEVICE, "ab")
    for kind, value in (
        (PAYMENT, " - "), (DEVICE, ""), ("email", "a"), (NETWORK, "1.2.3/24"), (DEVICE, "a" * 2_000)
    ):  # fmt: skip
        with pytest.raises(ValueError, match="identifier") as refused:
            canonical(kind, value)
        assert len(value) < 2 or value not in str(refused.value)


def test_the_file_is_unreadable_without_its_key_and_holds_no_text(tmp_path: Path) -> None:
    lab, path = Lab(), tmp_path / "own.sealed"
    assert write_sealed(path, lab.sealed("card-1", "card-2"), lab.sealer) == 2
    assert write_sealed(path, lab.sealed("card-2", "card-3"), lab.sealer) == 3
    assert read_sealed(path, lab.sealer) == sorted(lab.sealed("card-1", "card-2", "card-3"))
    data = path.read_bytes()
    assert b"card" not in data
    assert path.stat().st_mode & 0o077 == 0
    for spoilt in (data[:-1] + bytes([data[-1] ^ 1]), b"x" + data, b""):
        path.write_bytes(spoilt)
        with pytest.raises(DistilwatchError, match="has sealed"):
            read_sealed(path, lab.sealer)
    path.write_bytes(data)
    with pytest.raises(DistilwatchError, match="has sealed"):
        read_sealed(path, Lab().sealer)


def test_commands_that_add_to_one_file_at_once_lose_nothing(tmp_path: Path) -> None:
    lab, path = Lab(), tmp_path / "own.sealed"
    cards = [lab.sealed(f"card-{i}") for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda own: write_sealed(path, own, lab.sealer), cards))
    assert sorted(counts) == list(range(1, 25))
    assert read_sealed(path, lab.sealer) == sorted(one for own in cards for one in own)


def test_sealed_points_of_two_labs_have_nothing_in_common() -> None:
    assert Lab().sealed("card-1")[0].point != Lab().sealed("card-1")[0].point
    assert point_of(PAYMENT, "card-1") != Lab().sealed("card-1")[0].point
