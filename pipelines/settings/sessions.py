"""Sessions, profiles, and how their coverage is measured."""

from __future__ import annotations

from pydantic import Field

from pipelines.settings.base import DAY, HOUR, MINUTE, SECOND, Duration, Section


class SessionsConfig(Section):
    """How requests are cut into sessions."""

    gap: Duration = Field(30 * MINUTE, description="a pause this long ends a session", ge=SECOND)
    max_length: Duration = Field(
        6 * HOUR,
        description="one that never pauses is cut at multiples of this",
        ge=MINUTE,
    )
    slice: Duration = Field(
        5 * MINUTE,
        description="a stream sums requests up in slices of this length before they are sent on; "
        "at most the gap, and max_length must be a multiple of it",
        ge=SECOND,
    )
    early_firing: Duration = Field(
        MINUTE, description="how often a session that is still open is scored anew", ge=SECOND
    )

    shards: int = Field(
        32,
        description="parts that a stream deals accounts to, for its state, which is read a part "
        "at a time: one for every 5,000 accounts of a profile window, and several times as many as "
        "slots of Flink, or threads of Dataflow's workers; a running job cannot change it",
        ge=1,
        le=100_000,
    )

    @property
    def gap_ms(self) -> int:
        return self.gap

    @property
    def max_length_ms(self) -> int:
        return self.max_length

    @property
    def slice_ms(self) -> int:
        return self.slice

    @property
    def early_firing_ms(self) -> int:
        return self.early_firing


class ProfilesConfig(Section):
    """The longer memory of an account, for campaigns that are slow."""

    window: Duration = Field(
        28 * DAY,
        description="length of the aligned windows; a multiple of sessions.max_length",
        ge=DAY,
    )

    @property
    def window_ms(self) -> int:
        return self.window


class CoverageConfig(Section):
    """How coverage is measured. Projection (64 axes) and Fourier features (256) are fixed by the
    format of sketches."""

    cells: int = Field(
        1_024, description="cells that the embedding space is cut into", ge=16, le=1_024
    )
    codebook_sample: int = Field(
        60_000,
        description="vectors of the history that cells are learnt from",
        ge=1_000,
        le=2_000_000,
    )
