"""Every feature of the science notes has a column."""

from __future__ import annotations

from transforms.clusters.feature_table import CLUSTER_FEATURES
from transforms.coverage.features import COLUMNS


def test_each_code_of_the_science_notes_has_a_column() -> None:
    codes = {feature.code for feature in (*COLUMNS, *CLUSTER_FEATURES)} - {""}
    assert codes == {f"F{number}" for number in range(1, 30)}
