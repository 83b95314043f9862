"""What is fitted to the history."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from pipelines.settings.base import Section, Share, as_tuple


class DetectorConfig(Section):
    """One outlier model."""

    name: str = Field(
        description="class name of a PyOD model, such as KNN, KDE, GMM or IForest, or EvidenceSum, "
        "the sum of the lines of evidence"
    )
    params: dict[str, Any] = Field(default_factory=dict, description="arguments of its constructor")


class ScoringConfig(Section):
    """What is fitted to the history."""

    detectors: Annotated[tuple[DetectorConfig, ...], BeforeValidator(as_tuple)] = Field(
        (
            DetectorConfig(name="KNN", params={"n_neighbors": 15, "method": "mean"}),
            DetectorConfig(name="KDE", params={"bandwidth": 0.5}),
            DetectorConfig(name="EvidenceSum", params={}),
        ),
        description="the ensemble; each counts the same",
        min_length=1,
        max_length=20,
    )
    trim_share: Share = Field(
        0.02,
        description="share of the history, the most outlying by consensus, that is left out of a "
        "second fit, because history is never clean",
    )
    calibration_share: float = Field(
        0.4,
        description="share of accounts that only calibrate p-values and train nothing",
        gt=0,
        lt=1,
    )
    kinds: int = Field(
        6,
        description="kinds of use that are told apart within each peer group, at most; 0: none",
        ge=0,
        le=50,
    )
    max_training_keys: int = Field(
        20_000,
        description="more keys than this are sampled down before fitting, because detectors that "
        "look at neighbours grow slow",
        ge=100,
        le=1_000_000,
    )
    min_requests: int = Field(
        5, description="accounts and sessions with fewer requests teach nothing", ge=1, le=10_000
    )
    seed: int = Field(7, description="of every random choice", ge=0, le=2**31 - 1)
