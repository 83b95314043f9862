"""Every setting of distilwatch: one YAML file, with defaults, checked as a whole.

`pipelines.config.load_config` reads it and reports mistakes; `distilwatch config show` prints it
with each setting's meaning. This page is only what can be set.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from pipelines.durations import format_duration, parse_duration

Duration = Annotated[
    int,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
]
"""Milliseconds; in the file written as `30 min`, `6 h` or a number of seconds."""


def _instant(value: object) -> int:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"is not a date or time: {value!r}") from None
    elif isinstance(value, date) and not isinstance(value, datetime):  # YAML's own dates
        value = datetime.combine(value, time(), UTC)
    if not isinstance(value, datetime):
        raise ValueError(f"is not a date or time: {value!r}")
    return round((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp() * 1000)


def _format_instant(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat().replace("+00:00", "Z")


Instant = Annotated[
    int, BeforeValidator(_instant), PlainSerializer(_format_instant, return_type=str)
]
"""Milliseconds since 1970 UTC; in the file a date or an RFC 3339 time."""


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


_2015_MS = 1_420_070_400_000
_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000
Share = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """Frozen, and strict: an unknown name or a text where a number belongs is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class IngestConfig(Section):
    """Reading, checking and pseudonymising of events."""

    hmac_key_env: str = Field(
        "DISTILWATCH_HMAC_KEY",
        description="environment variable with the secret key (base64 or hex, at least 16 bytes) "
        "that payment fingerprints are hashed with; the key file is used when it is unset",
        min_length=1,
    )
    hmac_key_file: str | None = Field(
        None,
        description="file with that key; null: one of this user's own, made on first use",
    )
    dead_letter_key_env: str | None = Field(
        None,
        description="environment variable with the key that encrypts the raw bytes of refused "
        "records; null: only their SHA-256 and position are kept, and they cannot be replayed "
        "from the table",
    )
    max_future: Duration = Field(
        10 * _MINUTE, description="an event this far ahead of the clock is refused", ge=0
    )
    min_event_time: Instant = Field(_2015_MS, description="an event from before this is refused")
    allowed_lateness: Duration = Field(
        _HOUR,
        description="how far behind the watermark an event still counts; later ones become dead "
        "letters",
        ge=0,
    )
    watermark_lag: Duration = Field(
        _MINUTE,
        description="how much out of order the events of one partition usually are; sessions close "
        "that much later",
        ge=0,
    )
    idle_after: Duration = Field(
        10 * _SECOND,
        description="a partition that was read to its end and is silent for so long holds no "
        "session open any more",
        ge=_SECOND,
    )
    dedupe_horizon: Duration = Field(
        _HOUR, description="a repeated event id is found within this much event time", ge=0
    )
    max_text_chars: int = Field(
        200_000,
        description="characters of a prompt that are read for embedding; the rest is cut off",
        ge=100,
        le=10_000_000,
    )
    batch_records: int = Field(2_000, description="records decoded together", ge=1, le=100_000)
    known_texts: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = Field(
        (),
        description="files that `distilwatch known-texts build` wrote, collections in which "
        "prompts are looked up; where several hold one, the first of those that hold most counts",
        max_length=16,
    )

    @property
    def max_future_ms(self) -> int:
        return self.max_future

    @property
    def min_event_time_ms(self) -> int:
        return self.min_event_time

    @property
    def allowed_lateness_ms(self) -> int:
        return self.allowed_lateness

    @property
    def watermark_lag_ms(self) -> int:
        return self.watermark_lag

    @property
    def idle_after_ms(self) -> int:
        return self.idle_after

    @property
    def dedupe_horizon_ms(self) -> int:
        return self.dedupe_horizon


class EmbeddingConfig(Section):
    """Where vectors come from."""

    kind: Literal["hashing", "event"] = Field(
        "hashing",
        description="hashing: events without a vector get one from their text, by character "
        "n-grams, offline; event: only vectors that events bring count",
    )
    dim: int = Field(
        384,
        description="length of a vector; events with vectors of another length are refused",
        ge=8,
        le=8_192,
    )
    model: str = Field(
        "distilwatch-hashing-v1",
        description="name of the model that made the vectors; bundles are bound to it",
        min_length=1,
    )


class SessionsConfig(Section):
    """How requests are cut into sessions."""

    gap: Duration = Field(30 * _MINUTE, description="a pause this long ends a session", ge=_SECOND)
    max_length: Duration = Field(
        6 * _HOUR,
        description="one that never pauses is cut at multiples of this",
        ge=_MINUTE,
    )
    slice: Duration = Field(
        5 * _MINUTE,
        description="requests are summed up in slices of this length before they are sent on; at "
        "most the gap, and max_length must be a multiple of it",
        ge=_SECOND,
    )
    early_firing: Duration = Field(
        _MINUTE, description="how often a session that is still open is scored anew", ge=_SECOND
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

    window: Duration = Field(28 * _DAY, description="length of the aligned windows", ge=_DAY)

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


class DetectorConfig(Section):
    """One outlier model."""

    name: str = Field(
        description="class name of a PyOD model, such as KNN, KDE, GMM or IForest, or EvidenceSum, "
        "the sum of the lines of evidence"
    )
    params: dict[str, Any] = Field(default_factory=dict, description="arguments of its constructor")


class ScoringConfig(Section):
    """What is fitted to the history."""

    detectors: Annotated[tuple[DetectorConfig, ...], BeforeValidator(_as_tuple)] = Field(
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


class LinkConfig(Section):
    """How strongly one kind of shared thing links accounts."""

    weight: float = Field(
        0.5,
        description="of a thing that only two accounts share; it falls with the logarithm of how "
        "many do; 0: this kind links nobody",
        ge=0,
        le=100,
    )
    max_popularity: int = Field(
        1_000,
        description="a thing that so many accounts share links nobody",
        ge=2,
        le=100_000_000,
    )
    min_share: float = Field(
        0.0, description="share of an account's requests that must carry it", ge=0, le=1
    )


def _link(weight: float, max_popularity: int, min_share: float) -> tuple[LinkConfig, Any]:
    """A kind's defaults, and a validator through which a part of them can be set."""
    default = LinkConfig(weight=weight, max_popularity=max_popularity, min_share=min_share)

    def fill(value: object) -> object:
        return {**default.model_dump(), **value} if isinstance(value, dict) else value

    return default, BeforeValidator(fill)


_PAYMENT = _link(1.0, 1_000_000, 0.0)
_CREDENTIAL = _link(1.0, 10_000, 0.0)
_ORGANIZATION = _link(1.0, 100_000, 0.0)
_NETWORK = _link(0.5, 60, 0.02)
_CLIENT = _link(0.5, 40, 0.05)
_SYSTEM_PROMPT = _link(0.7, 2_000, 0.05)
_PREFIX = _link(0.7, 300, 0.1)
_SUFFIX = _link(0.7, 300, 0.1)


class LinksConfig(Section):
    """What links accounts."""

    payment: Annotated[LinkConfig, _PAYMENT[1]] = Field(
        _PAYMENT[0], description="the same payment fingerprint"
    )
    credential: Annotated[LinkConfig, _CREDENTIAL[1]] = Field(
        _CREDENTIAL[0], description="the same credential"
    )
    organization: Annotated[LinkConfig, _ORGANIZATION[1]] = Field(
        _ORGANIZATION[0], description="the same organization"
    )
    network: Annotated[LinkConfig, _NETWORK[1]] = Field(
        _NETWORK[0], description="the same network prefix"
    )
    client: Annotated[LinkConfig, _CLIENT[1]] = Field(
        _CLIENT[0], description="the same client fingerprint"
    )
    system_prompt: Annotated[LinkConfig, _SYSTEM_PROMPT[1]] = Field(
        _SYSTEM_PROMPT[0], description="the same system prompt"
    )
    prefix_scaffold: Annotated[LinkConfig, _PREFIX[1]] = Field(
        _PREFIX[0], description="the same first words around what is asked"
    )
    suffix_scaffold: Annotated[LinkConfig, _SUFFIX[1]] = Field(
        _SUFFIX[0], description="the same last words around what is asked"
    )


class ClustersConfig(Section):
    """How accounts are linked into clusters."""

    min_link_weight: float = Field(
        0.5, description="two accounts with this much in common belong together", gt=0, le=1_000
    )
    links: LinksConfig = Field(default_factory=LinksConfig, description="kinds of links")
    signature_max_p: float = Field(
        0.01,
        description="an account that shares nothing is added to a suspicious cluster when what it "
        "asks fits the cluster's members alone; so often that happens to benign accounts by "
        "chance. 0: never",
        ge=0,
        le=0.2,
    )
    synchrony_weight: float = Field(
        0.5,
        description="weight of the link between accounts that are at work in the same minutes more "
        "often than chance lets them. 0: none",
        ge=0,
        le=1_000,
    )
    synchrony_false_pairs: float = Field(
        0.01,
        description="independent pairs that may be taken for synchronous by chance, over all pairs "
        "of a window",
        gt=0,
        le=100,
    )
    hand_over_weight: float = Field(
        0.4,
        description="weight of the link from an account that was refused and fell silent to one "
        "that begins within the hour; below min_link_weight it only adds to other links. 0: none",
        ge=0,
        le=1_000,
    )
    split_conductance: float = Field(
        0.1,
        description="a dense part of a cluster is one of its own when at most this share of its "
        "links' weight leads to the rest. 0: nothing is split",
        ge=0,
        le=0.5,
    )
    null_groups: int = Field(
        1_500,
        description="random groups of history accounts that say what is normal for a cluster",
        ge=50,
        le=100_000,
    )


class SeverityConfig(Section):
    """What makes a flagged cluster grave; a small p-value alone makes it at most medium."""

    high_exposure_usd: float = Field(
        1_000.0, description="list price, in US dollars, from which it is a level graver", ge=0
    )
    critical_exposure_usd: float = Field(
        20_000.0, description="list price, in US dollars, from which it is two levels graver", ge=0
    )
    high_accounts: int = Field(
        10, description="accounts from which it is a level graver", ge=1, le=1_000_000
    )


class KnownTextsConfig(Section):
    """What a cluster is called by the collections of known texts that its requests are from."""

    replay_share: float = Field(
        0.2,
        description="share of its requests that are in collections of kind extraction from which "
        "it is called a replay",
        gt=0,
        le=1,
    )
    benchmark_share: float = Field(
        0.8,
        description="share of its requests that are in collections of kind benchmark from which it "
        "is called an evaluation, and its alert is of low severity unless it is a replay as well",
        gt=0,
        le=1,
    )
    min_requests: int = Field(
        20, description="a cluster with fewer requests is called neither", ge=1, le=1_000_000
    )


class AlertsConfig(Section):
    """What is flagged, and how many pages a day people get at most."""

    max_p: float = Field(
        0.01, description="a cluster or account above this p-value is not flagged", gt=0, le=1
    )
    pages_per_day: float = Field(
        20.0,
        description="so many alerts a day may come from chance alone; max_p is made smaller where "
        "that is needed",
        gt=0,
        le=100_000,
    )
    severity: SeverityConfig = Field(
        default_factory=SeverityConfig, description="what makes an alert grave"
    )
    control: Literal["budget", "discoveries", "both"] = Field(
        "both",
        description="what decides below max_p: the budget, the false discovery rate, or both",
    )
    false_discovery_rate: float = Field(
        0.2,
        description="share of false ones among all that is flagged, at most, over the windows of a "
        "run, as far as p-values keep what they promise",
        gt=0,
        lt=1,
    )
    known_texts: KnownTextsConfig = Field(
        default_factory=KnownTextsConfig, description="what ingest.known_texts say of a cluster"
    )


class RunConfig(Section):
    """The machine."""

    parallelism: int = Field(1, description="worker processes of the embedded runner", ge=1, le=256)
    tmp: str | None = Field(None, description="folder for temporary files; null: the system's own")
    commit_every: Duration = Field(
        5 * _SECOND,
        description="how often results of an endless topic are put into the tables",
        ge=_SECOND,
    )

    @property
    def commit_every_ms(self) -> int:
        return self.commit_every


class Config(Section):
    """All settings."""

    ingest: IngestConfig = Field(default_factory=IngestConfig)
    embedding: EmbeddingConfig = Field(default_factory=EmbeddingConfig)
    sessions: SessionsConfig = Field(default_factory=SessionsConfig)
    profiles: ProfilesConfig = Field(default_factory=ProfilesConfig)
    coverage: CoverageConfig = Field(default_factory=CoverageConfig)
    scoring: ScoringConfig = Field(default_factory=ScoringConfig)
    clusters: ClustersConfig = Field(default_factory=ClustersConfig)
    alerts: AlertsConfig = Field(default_factory=AlertsConfig)
    run: RunConfig = Field(default_factory=RunConfig)
