"""`distilwatch train`: history in, bundle out."""

from __future__ import annotations

import math
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.config import Config
from pipelines.console import Console
from pipelines.parts import (
    Reading,
    decoder,
    embedded_pipeline,
    embeds_texts,
    known_texts,
    link_options,
    read_events,
    session_options,
)
from schemas.errors import DistilwatchError
from transforms.alerts.dispositions import Disposition, accounts_of
from transforms.coverage.sketch import CoverageSketch, decode, encode
from transforms.embedding.labels import CapabilityTable, count_labels
from transforms.embedding.left_out import LeftOut, leave_out
from transforms.embedding.sample import Sample, SmallestHashes
from transforms.embedding.space import EmbeddingSpace, fit_space
from transforms.ingest.batch import Events
from transforms.ingest.hashing import hash64
from transforms.ingest.transforms import CleanEvents, DecodeAndEmbed, DecodeAndPlace, FittedSpace
from transforms.scoring.bundle import load_bundle, save_bundle
from transforms.scoring.detectors import DetectorSpec
from transforms.scoring.fit import PROFILE, BundleOptions, KeyedSketch, fit_bundle
from transforms.scoring.history import (
    Part,
    TwoParts,
    accounts_at_once,
    middle_ms,
    part_ms,
    profiles,
    two_parts,
    whole,
)
from transforms.scoring.model import FitOptions
from transforms.scoring.store import bundle_folder
from transforms.sessions.transforms import (
    FoldTogether,
    ProfileBounded,
    Session,
    SessionizeBounded,
    each_profile,
    each_session,
)
from transforms.sinks.staging import cannot_keep


@dataclass(frozen=True)
class TrainOptions:
    """What to train on and where to put the bundle.

    Attributes:
      decisions: of staff that hold, on clusters found before.
      space_of: bundle whose embedding space is taken over; None: one is fitted.
    """

    inputs: list[str]
    bundle: Path
    config: Config
    runner: str
    beam_args: list[str]
    space_of: Path | None = None
    decisions: tuple[Disposition, ...] = ()

    @property
    def left_out(self) -> frozenset[str]:
        """Accounts that are not what is normal: distillation, whether it is permitted or not."""
        return accounts_of(self.decisions, "confirm") | accounts_of(self.decisions, "permitted")

    @property
    def benign(self) -> frozenset[str]:
        """Accounts that were flagged, and that people know to be benign."""
        return accounts_of(self.decisions, "dismiss") - self.left_out


@dataclass(frozen=True)
class TrainSummary:
    """What was trained."""

    bundle: str
    version: str
    events: int
    keys: dict[str, int]
    left_out: int = 0
    benign: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "bundle": self.bundle,
            "bundle_version": self.version,
            "events": self.events,
            "keys": self.keys,
            "left_out": self.left_out,
            "benign": self.benign,
        }

    def lines(self) -> list[str]:
        """For people."""
        keys = ", ".join(f"{n:,} {level}" for level, n in self.keys.items())
        lines = [f"Bundle {self.version}, from {self.events:,} events ({keys})."]
        if self.left_out or self.benign:
            lines.append(
                f"By decisions of staff {self.left_out:,} accounts were left out of the history, "
                f"and {self.benign:,} calibrate."
            )
        return lines


def train(options: TrainOptions, console: Console) -> TrainSummary:
    """Fits the embedding space, then sketches the history in it, then fits the models.

    Raises:
      DistilwatchError: when the history is too small.
    """
    config = options.config
    with tempfile.TemporaryDirectory(prefix="distilwatch-train-", dir=config.run.tmp) as folder:
        console.step("Fit the embedding space to the history")
        fitted, left_out = _fit_space(options, folder)
        console.step("Sketch the history")
        levels, peers, parts = _sketch_history(options, fitted, left_out, folder)
    console.step("Fit and calibrate the detectors")
    profiles = levels.get(PROFILE, [])
    events = sum(part.events for own in parts.values() for part in own)
    bundle = fit_bundle(
        fitted.space,
        peers,
        levels,
        {
            "events": events,
            # Of a window, and of all: this is what a window's tests are counted by, whatever was
            # sampled to learn from.
            "accounts": accounts_at_once(parts.values(), config.profiles.window_ms),
            "first_ms": min((k.sketch.first_ms for k in profiles), default=0),
            "last_ms": max((k.sketch.last_ms for k in profiles), default=0),
            "known_texts": list(known_texts(config).digests),
            "settings": config.model_dump(mode="json", include={"sessions", "profiles", "scoring"}),
            "decisions": {"left_out": len(options.left_out), "benign": len(options.benign)},
        },
        BundleOptions(
            fit=FitOptions(
                tuple(DetectorSpec(d.name, d.params) for d in config.scoring.detectors),
                config.scoring.calibration_share,
                config.scoring.trim_share,
                config.scoring.kinds,
                config.scoring.seed,
            ),
            links=link_options(config),
            null_groups=config.clusters.null_groups,
            seed=config.scoring.seed,
            least_events=config.scoring.min_requests,
            calibrating=options.benign,
        ),
        console.note,
        _two_parts(profiles, parts, config.scoring.min_requests),
        ((name, whole(own)) for name, own in parts.items()),
    )
    calibrating = len(bundle.models[PROFILE].calibration.scores[""])
    if few := too_few(calibrating, config):
        console.warn(few)
    bundle = replace(bundle, capabilities=fitted.capabilities)
    version = save_bundle(bundle, options.bundle)
    return TrainSummary(
        str(options.bundle), version, events, bundle.training["keys"], len(options.left_out),
        len(options.benign),
    )  # fmt: skip


def too_few(calibrating: int, config: Config) -> str:
    """What a history of few accounts cannot tell; "" where it is large enough.

    Args:
      calibrating: accounts that no model was fitted to.
    """
    if 1 / (calibrating + 1) <= config.alerts.max_p:
        return ""
    enough = math.ceil((1 / config.alerts.max_p - 1) / config.scoring.calibration_share)
    return (
        f"few accounts: {calibrating:,} of them calibrate, so that by chance alone 1 of "
        f"{calibrating + 1:,} looks as odd as the oddest. An account that shares nothing is "
        "flagged only where it lies far outside; groups are judged as ever. From about "
        f"{enough:,} accounts with {config.scoring.min_requests:,} requests and more in the "
        "history this is no more so"
    )


def _fit_space(options: TrainOptions, folder: str) -> tuple[FittedSpace, LeftOut]:
    """Fits the space to a sample of the history, and counts what is asked for in its cells; and
    what of the sample looks nearer than it is."""
    config = options.config
    with embedded_pipeline(options.runner, options.beam_args) as pipeline:
        _ = (
            read_events(
                pipeline,
                options.inputs,
                # What was confirmed must not look near to what is usual, either.
                DecodeAndEmbed(decoder(config), embeds_texts(config), options.left_out),
                _reading(config),
            )
            | "SmallestHashes"
            >> beam.CombineGlobally(
                SmallestHashes(config.coverage.codebook_sample, config.embedding.dim)
            )
            | "KeepSample" >> beam.Map(_save_sample, folder)
        )
    with np.load(Path(folder) / "sample.npz") as stored:
        hashes, sample, labels = (stored[name] for name in ("hashes", "vectors", "labels"))
    if not len(sample):
        raise DistilwatchError(
            "no event of the history was accepted with a vector or a text",
            "--input",
            "`distilwatch doctor` with the same --input says what its first records lack; what "
            "is normal is learnt from embedding or prompt_text",
        )
    space, left_out = _space_of(options), LeftOut()
    if space is None:
        space = fit_space(
            sample, config.embedding.model, config.coverage.cells, config.scoring.seed
        )
        left_out = leave_out(space, hashes, sample)
    return FittedSpace(space, _count_capabilities(space, sample, labels)), left_out


def _space_of(options: TrainOptions) -> EmbeddingSpace | None:
    """The space of another bundle, so that a running stream can change to the new one."""
    if options.space_of is None:
        return None
    space, embedding = load_bundle(bundle_folder(options.space_of)).space, options.config.embedding
    if (space.embedding_model, space.dim) != (embedding.model, embedding.dim):
        raise DistilwatchError(
            f"its space is of {space.embedding_model} with {space.dim} numbers, not of "
            f"{embedding.model} with {embedding.dim}",
            f"--space-of {options.space_of}",
            "set embedding.model and embedding.dim to these, or leave --space-of out",
        )
    return space


def _reading(config: Config) -> Reading:
    return Reading(config.ingest.batch_records, read_with=config.bigquery.read_with)


def _count_capabilities(
    space: EmbeddingSpace, sample: NDArray[np.float32], labels: NDArray[np.int8]
) -> CapabilityTable:
    cells, _ = space.nearest(space.coordinates(sample))
    return count_labels(cells, labels, space.cells)


def _save_sample(sample: Sample, folder: str) -> None:
    hashes, vectors, labels = sample
    try:
        np.savez(Path(folder) / "sample.npz", hashes=hashes, vectors=vectors, labels=labels)
    except OSError as error:
        raise cannot_keep(folder, error) from error


def _sketch_history(
    options: TrainOptions, fitted: FittedSpace, left_out: LeftOut, folder: str
) -> tuple[dict[str, list[KeyedSketch]], list[str], dict[str, list[Part]]]:
    """Training keys by level, the peer groups, and the parts of every account's history."""
    config = options.config
    sessions = session_options(config)
    length_ms = part_ms(config.profiles.window_ms, sessions.max_length_ms)
    with embedded_pipeline(options.runner, options.beam_args) as pipeline:
        clean = read_events(
            pipeline,
            options.inputs,
            DecodeAndPlace(decoder(config), fitted, embeds_texts(config), left_out=left_out),
            _reading(config),
        ) | "Clean" >> CleanEvents(config.ingest.dedupe_horizon_ms, gathers=True)
        events = clean.events
        if options.left_out:
            left = beam.FlatMap(_without, options.left_out).with_output_types(Events)
            events |= "LeaveOut" >> left
        together = (
            events | "Fold" >> FoldTogether(sessions) | "Sessions" >> SessionizeBounded(sessions)
        )
        of_sessions = (
            together
            | "EachSession" >> beam.FlatMap(each_session).with_output_types(Session)
            | "SessionKeys" >> beam.Map(_of_session)
        )
        _ = of_sessions | "Keep" >> beam.ParDo(_KeepFn(folder))
        _ = (
            together
            | "Profiles" >> ProfileBounded(length_ms, sessions.allowed_lateness_ms)
            | "EachProfile"
            >> beam.FlatMap(each_profile).with_output_types(tuple[str, CoverageSketch])
            | "NameParts" >> beam.ParDo(_PartFn())
            | "LeaveWindows" >> beam.WindowInto(beam.window.GlobalWindows())
            | "KeepParts" >> beam.ParDo(_KeepFn(folder, "parts"))
        )
        _ = (
            events
            | "PeerGroups" >> beam.FlatMap(lambda events: set(events.peer))
            | "DistinctPeers" >> beam.Distinct()
            | "KeepPeers" >> beam.ParDo(_KeepFn(folder, "peers"))
        )
    levels: dict[str, list[KeyedSketch]] = {}
    for level, key, data in sorted(_kept(folder, "sketches")):
        levels.setdefault(level, []).append(KeyedSketch(key, decode(data)))
    parts: dict[str, list[Part]] = {}
    for part in sorted(Part(*values) for values in _kept(folder, "parts")):
        parts.setdefault(part.account, []).append(part)
    most = config.scoring.max_training_keys
    benign = options.benign
    chosen = sorted(parts, key=lambda a: (a not in benign, hash64("sample\x1f" + a)))[:most]
    levels[PROFILE] = [
        KeyedSketch(account, sketch)
        for account in sorted(chosen)
        for sketch in profiles(parts[account], config.profiles.window_ms)
    ]
    sampled = {
        level: sorted(
            keys, key=lambda k: (k.key not in benign, hash64(f"{k.key}{k.sketch.first_ms}"))
        )[:most]
        for level, keys in levels.items()
    }
    return sampled, sorted(_kept(folder, "peers")), parts


def _without(events: Events, accounts: frozenset[str]) -> Iterator[Events]:
    """A batch without the events of some accounts."""
    keep = np.flatnonzero([account not in accounts for account in events.account])
    if len(keep) == len(events):
        yield events
    elif len(keep):
        yield events.take(keep)


def _two_parts(
    keys: Sequence[KeyedSketch], parts: Mapping[str, Sequence[Part]], least_events: int
) -> list[TwoParts]:
    """The accounts that are learnt from, before and after the middle of the history."""
    middle = middle_ms(part for own in parts.values() for part in own)
    if middle is None:
        return []
    found = (two_parts(parts[a], middle, least_events) for a in sorted({k.key for k in keys}))
    return [both for both in found if both is not None]


def _of_session(session: Session) -> tuple[str, str, bytes]:
    return f"session_{session.kind}", session.key, encode(session.sketch)


class _PartFn(beam.DoFn):  # type: ignore[misc]
    def process(
        self, element: tuple[str, CoverageSketch], window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Part]:
        account, sketch = element
        yield Part(account, window.start.micros // 1000, sketch.events, encode(sketch))


class _KeepFn(beam.DoFn):  # type: ignore[misc]
    """Writes what a bundle brings to one file of the launcher's folder."""

    def __init__(self, folder: str, name: str = "sketches") -> None:
        self._folder = folder
        self._name = name

    def start_bundle(self) -> None:
        self._waiting: list[Any] = []

    def process(self, element: Any) -> None:
        self._waiting.append(element)

    def finish_bundle(self) -> None:
        if self._waiting:
            path = Path(self._folder) / f"{self._name}-{uuid.uuid4().hex}.msgpack"
            data = msgspec.msgpack.encode(self._waiting)
            try:
                path.write_bytes(data)
            except OSError as error:
                raise cannot_keep(self._folder, error) from error
        self._waiting = []


def _kept(folder: str, name: str) -> Iterator[Any]:
    for path in Path(folder).glob(f"{name}-*.msgpack"):
        for element in msgspec.msgpack.decode(path.read_bytes()):
            yield tuple(element) if isinstance(element, list) else element
