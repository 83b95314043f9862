from __future__ import annotations

import numpy as np

from transforms.ingest.hashing import hash_rows


def test_equal_vectors_and_only_they_have_equal_hashes() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3_000, 384)).astype(np.float32)
    signs = np.repeat(vectors[:1], 384, axis=0)  # as like each other as vectors can be
    signs[np.arange(384), np.arange(384)] *= -1
    pairs = np.repeat(vectors[:1], 383, axis=0)
    pairs[np.arange(383), np.arange(383)] *= -1
    pairs[np.arange(383), np.arange(1, 384)] *= -1
    every = np.concatenate([vectors, signs, pairs])
    hashes = hash_rows(every)
    assert len(np.unique(hashes)) == len(every)
    assert (hashes > 0).all()
    assert (hash_rows(every[::-1].copy()) == hashes[::-1]).all()


def test_hashes_are_the_same_in_every_version() -> None:
    rows = (np.arange(12, dtype=np.float32) / 8).reshape(2, 6)
    assert hash_rows(rows).tolist() == [16344784300696198891, 11886207475609691857]
