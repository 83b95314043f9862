"""What train and detect have in common: the source, the decoder, the runner."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.config import Config
from schemas.errors import DistilwatchError
from transforms.alerts.control import Rates
from transforms.clusters.hand_over import HandOverOptions
from transforms.clusters.links import LinkKind, LinkOptions
from transforms.clusters.reports import Watching
from transforms.clusters.signatures import SignatureOptions
from transforms.clusters.splitting import SplitOptions
from transforms.clusters.synchrony import SynchronyOptions
from transforms.coverage.layout import Items
from transforms.ingest.batch import RecordBatch
from transforms.ingest.decode import Decoder
from transforms.ingest.files import ReadFiles, ToElement, stamped
from transforms.ingest.forgotten import Forgotten
from transforms.ingest.formats.adapter import adapter_of
from transforms.ingest.kafka_uri import parse_kafka_uri
from transforms.ingest.known import KnownTexts
from transforms.ingest.pace import Pace
from transforms.ingest.pseudonyms import Pseudonymiser, load_key
from transforms.ingest.registry import SchemaRegistry
from transforms.scoring.signing import home
from transforms.sessions.transforms import SessionOptions
from transforms.sharing.watch.matching import WatchOptions

if TYPE_CHECKING:
    from transforms.bigquery.client import BigQueryOptions


_FOR_EVER_S = 10 * 365 * 86_400


def decoder(config: Config, by_name: bool = False) -> Decoder:
    """The decoder that the settings ask for.

    Args:
      config: settings.
      by_name: whether it goes to workers without its key, which they find in their environment.
    """
    ingest = config.ingest
    variable = ingest.hmac_key_env if by_name else None
    key = load_key(ingest.hmac_key_env, ingest.hmac_key_file, home())
    return Decoder(
        Pseudonymiser(key, variable),
        config.embedding.model,
        config.embedding.dim,
        max_text_chars=ingest.max_text_chars,
        max_future_ms=ingest.max_future_ms,
        min_event_time_ms=ingest.min_event_time_ms,
        allowed_lateness_ms=ingest.allowed_lateness_ms,
        known=known_texts(config),
        forgotten=Forgotten.open(
            forgotten_file(config), key, variable, named=ingest.forgotten_file is not None
        ),
        schemas=schema_registry(config),
        adapter=adapter_of(ingest.format, ingest.fields),
    )


def forgotten_file(config: Config) -> Path:
    """The list of accounts that were to be forgotten; one that nobody named need not be there.

    Raises:
      DistilwatchError: it is no path of this machine.
    """
    named = config.ingest.forgotten_file
    if named and "://" in named:
        raise DistilwatchError(
            "the list of forgotten accounts is read from a bucket by the template of Dataflow only",
            f"ingest.forgotten_file {named}",
            "copy it to this machine, and name the copy",
        )
    return Path(named) if named else home() / "forgotten.jsonl"


def schema_registry(config: Config) -> SchemaRegistry | None:
    """The registry that the settings name."""
    registry = config.ingest.registry
    if registry.url is None:
        return None
    return SchemaRegistry(
        registry.url, registry.user, registry.password_env, registry.token_env, registry.ca_file,
        registry.timeout_ms / 1000, registry.patience_ms / 1000,
    )  # fmt: skip


def known_texts(config: Config) -> KnownTexts:
    """The collections of known texts that the settings name, verified.

    Raises:
      DistilwatchError: when one cannot be used, or two have the same name.
    """
    known = KnownTexts.open(config.ingest.known_texts)
    names = [about.name for about in known.collections]
    for name in names:
        if names.count(name) > 1:
            raise DistilwatchError(
                f"two collections have the name {name!r}",
                "ingest.known_texts",
                "leave one out, or build one of them under another --name",
            )
    return known


def embeds_texts(config: Config) -> bool:
    """Whether texts are embedded here."""
    return config.embedding.kind == "hashing"


def session_options(config: Config, endless: bool = False) -> SessionOptions:
    """How sessions are cut; only where input has no end is anything reported early."""
    sessions = config.sessions
    return SessionOptions(
        gap_ms=sessions.gap_ms,
        max_length_ms=sessions.max_length_ms,
        slice_ms=sessions.slice_ms,
        early_firing_ms=sessions.early_firing_ms if endless else 0,
        allowed_lateness_ms=config.ingest.allowed_lateness_ms,
        shards=sessions.shards,
    )


def link_options(config: Config) -> LinkOptions:
    """What links accounts, and how strongly."""
    kinds = {
        Items[name.upper()]: LinkKind(how.weight, how.max_popularity, how.min_share)
        for name, how in config.clusters.links
    }
    clusters = config.clusters
    return LinkOptions(
        kinds,
        clusters.min_link_weight,
        SignatureOptions(max_p=clusters.signature_max_p),
        SynchronyOptions(clusters.synchrony_weight, false_pairs=clusters.synchrony_false_pairs),
        HandOverOptions(clusters.hand_over_weight),
        SplitOptions(clusters.split_conductance),
    )


def bigquery_options(config: Config) -> BigQueryOptions:
    """How BigQuery is written."""
    from transforms.bigquery.client import BigQueryOptions

    how = config.bigquery
    return BigQueryOptions(
        method=how.method,
        create_tables=how.create_tables,
        expire_ms=how.expire_after,
        labels=tuple(sorted(how.labels.items())),
        retry_s=how.retry_for / 1000,
        window_ms=config.profiles.window_ms,
    )


def watching(config: Config, endless: bool = False) -> Watching:
    """What other labs reported, and how much it counts; only where input has no end is the list
    read again while a run goes on."""
    watch = config.watch
    return Watching(
        watch.list,
        watch.refresh_ms if endless else 0,
        WatchOptions(
            {source.name: source.trust for source in watch.sources},
            watch.weight,
            watch.most_weight,
            watch.most_gain,
            watch.half_life_ms,
            watch.most_share,
            watch.most_source_share,
            watch.least_accounts,
            watch.least_members,
            watch.likeness_max_p,
        ),
    )


def discovery_rates(config: Config) -> Rates:
    """Of false discoveries: of all tests, and of those that each trusted lab reports.

    Which labs have a share follows from the settings and not from what was received, so that
    nobody changes it by what they tell.
    """
    rate, watch = config.alerts.false_discovery_rate, config.watch
    trust = {source.name: source.trust for source in watch.sources if source.trust > 0}
    if not watch.list or not trust:
        return Rates(rate)
    kept = rate * watch.share_of_rate
    total = sum(trust.values())
    own = tuple((name, kept * share / total) for name, share in sorted(trust.items()))
    return Rates(rate - kept, own)


@dataclass(frozen=True)
class Reading:
    """How inputs are read; all but the first and the last are for topics, see `ReadKafka`.

    Attributes:
      batch_records: records handled together.
      watermark_lag_ms, idle_after_ms, readers, read_for_ms, positions, pace: as of `ReadKafka`.
      read_with: as of `ReadBigQuery`.
    """

    batch_records: int
    watermark_lag_ms: int = 60_000
    idle_after_ms: int = 10_000
    readers: int | None = None
    read_for_ms: int = 1_000
    positions: str | None = None
    pace: Pace | None = None
    read_with: Literal["storage_read", "query"] = "storage_read"


def read_events(
    pipeline: beam.Pipeline,
    inputs: Sequence[str],
    to_element: ToElement,
    how: Reading,
    letters: Sequence[RecordBatch] = (),
) -> beam.PCollection[Any]:
    """One collection of elements from all inputs.

    Args:
      pipeline: to read in.
      inputs: URIs.
      to_element: as of `ReadKafka`.
      how: they are read.
      letters: batches of records that are at hand already.
    """
    parts = [pipeline | f"Read{i}" >> source(uri, to_element, how) for i, uri in enumerate(inputs)]
    if letters:
        parts.append(
            pipeline
            | "Letters" >> beam.Create(letters)
            | "DecodeLetters" >> beam.Map(lambda batch: stamped(*to_element(batch)))
        )
    return parts[0] if len(parts) == 1 else parts | "AllInputs" >> beam.Flatten()


def source(uri: str, to_element: ToElement, how: Reading) -> beam.PTransform:
    """The source of a URI."""
    if uri.startswith("kafka://"):
        from transforms.ingest.kafka import ReadKafka

        return ReadKafka(
            uri, to_element, how.batch_records, how.watermark_lag_ms, how.idle_after_ms,
            how.readers, how.read_for_ms, how.positions, how.pace,
        )  # fmt: skip
    if uri.startswith("bigquery://"):
        from transforms.ingest.bigquery import ReadBigQuery

        return ReadBigQuery(uri, to_element, how.batch_records, how.read_with)
    return ReadFiles(uri, to_element, how.batch_records)


def is_endless(inputs: Sequence[str]) -> bool:
    """Whether reading all inputs would never end."""
    return any(uri.startswith("kafka://") and not parse_kafka_uri(uri).bounded for uri in inputs)


def prism_options(endpoint: str, args: Sequence[str], endless: bool) -> PipelineOptions:
    """Options for a run on a Prism that listens at `endpoint`; workers are of this process.

    Prism 2.77 divides slow bundles of stateful steps, too, and then loses some of their elements
    and timers and runs others twice; so it must not divide any. Our source is not divided anyway.
    """
    own = [
        "--experiments=prism_disable_sdf_split",
        "--runner=PrismRunner",
        f"--job_endpoint={endpoint}",
        # Beam cuts the news of a job off after this time, five minutes by default, and takes that
        # for the job's failure.
        f"--job_server_timeout={_FOR_EVER_S}",
        "--environment_type=LOOPBACK",
        *(["--streaming"] if endless else []),
    ]
    return PipelineOptions([*own, *args])


@contextmanager
def embedded_pipeline(
    runner: str, args: Sequence[str], parallelism: int = 1
) -> Iterator[beam.Pipeline]:
    """A pipeline on Beam's embedded runner, which runs at the end of the block.

    Beam removes the folder of its own that a pipeline has only when that has run.

    Raises:
      DistilwatchError: for another runner.
    """
    pipeline = beam.Pipeline(options=beam_options(runner, args, parallelism))
    try:
        with pipeline:
            yield pipeline
    finally:
        shutil.rmtree(pipeline.local_tempdir, ignore_errors=True)


def beam_options(runner: str, args: Sequence[str], parallelism: int) -> PipelineOptions:
    """Options for Beam's embedded runner.

    Raises:
      DistilwatchError: for another runner.
    """
    if runner != "direct":
        raise DistilwatchError(
            f"the runner {runner} cannot do this", "--runner", "leave it out, or say direct"
        )
    own = ["--runner=FnApiRunner"]
    if parallelism > 1:
        own += [f"--direct_num_workers={parallelism}", "--direct_running_mode=multi_processing"]
    return PipelineOptions([*own, *args])
