"""Reading events, and where their vectors come from."""

from __future__ import annotations

import difflib
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from pipelines.settings.base import HOUR, MINUTE, SECOND, Duration, Instant, Section, as_tuple
from transforms.ingest.formats.adapter import settable

_2015_MS = 1_420_070_400_000


def _places(value: object) -> object:
    return (value,) if isinstance(value, str) else as_tuple(value)


Places = Annotated[tuple[str, ...], BeforeValidator(_places), Field(min_length=1, max_length=8)]


class RegistryConfig(Section):
    """The schema registry, of records in its wire format."""

    url: str | None = Field(
        None,
        description="address, such as https://registry:8081; null: records in its format are "
        "refused",
        pattern=r"^https?://[^\s@]+$",
    )
    user: str | None = Field(None, description="for HTTP Basic, with password_env")
    password_env: str | None = Field(
        None, description="environment variable with that user's password"
    )
    token_env: str | None = Field(None, description="environment variable with a bearer token")
    ca_file: str | None = Field(
        None, description="PEM file of who signed the registry's certificate; null: the system's"
    )
    timeout: Duration = Field(5 * SECOND, description="of one request", ge=100)
    patience: Duration = Field(
        5 * MINUTE,
        description="how long reading waits for a registry that does not answer, before the run "
        "ends with an error; no record is lost",
        ge=0,
    )

    @property
    def timeout_ms(self) -> int:
        return self.timeout

    @property
    def patience_ms(self) -> int:
        return self.patience


class IngestConfig(Section):
    """Reading, checking and pseudonymising of events."""

    format: Literal["events", "otlp", "litellm", "kong"] = Field(
        "events",
        description="what records are: events, as docs/contracts.md has them; otlp, OpenTelemetry "
        "spans of generative AI in JSON or protobuf; litellm, the proxy's standard logging "
        "payload; kong, log entries of Kong AI Gateway",
    )
    fields: dict[str, Places] = Field(
        default_factory=dict,
        description="where a format has a field of the event, such as payment_fingerprint: "
        "[metadata.spend_logs_metadata.card]; the first place that is there counts. Paths in JSON "
        "with dots and * for any name, or names of attributes for otlp; docs/gateways.md has those "
        "that count without",
    )
    hmac_key_env: str = Field(
        "DISTILWATCH_HMAC_KEY",
        description="environment variable with the secret key (at least 16 characters, used as "
        "they are) that payment fingerprints are hashed with; without it the key file is used",
        min_length=1,
    )
    hmac_key_file: str | None = Field(
        None,
        description="file with that key; null: one of this user's own, made on first use",
    )
    dead_letter_key_env: str | None = Field(
        None,
        description="environment variable with the key that encrypts the raw bytes of refused "
        "records: 32 random bytes in base64; older keys, which still open, follow after commas. "
        "null: only SHA-256 and place are kept, and a replay reads the record where it came from",
    )
    dead_letter_max_bytes: int = Field(
        1 << 20,
        description="longer refused records are not kept in the table, only their place",
        ge=0,
        le=16 << 20,
    )
    registry: RegistryConfig = Field(default_factory=RegistryConfig)
    max_future: Duration = Field(
        10 * MINUTE, description="an event this far ahead of the clock is refused", ge=0
    )
    min_event_time: Instant = Field(_2015_MS, description="an event from before this is refused")
    allowed_lateness: Duration = Field(
        HOUR,
        description="how far behind the watermark an event still counts; later ones become dead "
        "letters",
        ge=0,
    )
    watermark_lag: Duration = Field(
        MINUTE,
        description="how much out of order the events of one partition usually are; sessions close "
        "that much later",
        ge=0,
    )
    idle_after: Duration = Field(
        10 * SECOND,
        description="a partition that was read to its end and is silent for so long holds no "
        "session open any more",
        ge=SECOND,
    )
    dedupe_horizon: Duration = Field(
        HOUR,
        description="a repeated event id is found within this much event time, and within "
        "allowed_lateness where that is longer",
        ge=0,
    )
    max_text_chars: int = Field(
        200_000,
        description="characters of a prompt that are read for embedding; the rest is cut off",
        ge=100,
        le=10_000_000,
    )
    batch_records: int = Field(2_000, description="records decoded together", ge=1, le=100_000)
    known_texts: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = Field(
        (),
        description="files that `distilwatch known-texts build` wrote, collections in which "
        "prompts are looked up; where several hold one, the first of those that hold most counts",
        max_length=16,
    )

    forgotten_file: str | None = Field(
        None,
        description="list of accounts, as keyed hashes, that `distilwatch forget` wrote and whose "
        "records are refused; null: one of this user's own. One that is named must be there; the "
        "template of Dataflow reads it from a bucket, too (gs://…)",
    )

    @field_validator("fields")
    @classmethod
    def _fields(cls, fields: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        known = settable()
        for name, places in fields.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, n=2)
                raise ValueError(
                    f"{name} is no field whose place can be set: "
                    + (f"did you mean {' or '.join(near)}?" if near else ", ".join(known))
                )
            for place in places:
                if not place or any(not part for part in place.split(".")):
                    raise ValueError(f"{name}: {place!r} is no place")
                if place.split(".")[0] == "*":  # nothing would ever be found there
                    raise ValueError(f"{name}: {place!r} must begin with a name; * may follow it")
        return fields

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
        """For as long as an event is not late: one that was forgotten would count again."""
        return max(self.dedupe_horizon, self.allowed_lateness)


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
