"""Seals the identifiers of chosen accounts: a small ingest job of its own, beside `detect`.

Private matching needs more of an identifier than its pseudonym, which no other lab can make. What
it needs is not kept for every customer in case it should be wanted: when a cluster is looked into,
this job reads the requests of its accounts once more and seals what they paid and connected with,
and from where.
The raw values are seen by this job alone, as by ingest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics
from apache_beam.metrics.metric import MetricsFilter
from numpy.typing import NDArray

from pipelines.config import Config
from pipelines.parts import Reading, decoder, embedded_pipeline, read_events
from schemas.errors import DistilwatchError
from transforms.ingest.batch import RecordBatch
from transforms.ingest.decode import Decoder
from transforms.ingest.events import RequestEvent
from transforms.scoring.signing import home
from transforms.sharing.private.identifiers import DEVICE, NETWORK, PAYMENT, Sealed, local_name
from transforms.sharing.private.sealed import Sealer, load_seal_key, write_sealed

SEAL_KEY = "DISTILWATCH_SEAL_KEY"
_COUNTS = "seal"


def own_sealer() -> Sealer:
    """The sealer of this lab, by its key."""
    return Sealer(load_seal_key(SEAL_KEY, home()))


class SealedPart(NamedTuple):
    """What came of some records.

    Attributes:
      identifiers: of the chosen accounts.
      accounts: of these, those that were in them.
      unread: records that could not be read.
    """

    identifiers: frozenset[Sealed] = frozenset()
    accounts: frozenset[str] = frozenset()
    unread: int = 0


class SealCounts(NamedTuple):
    """What came of sealing.

    Attributes:
      sealed: identifiers that the file has by now.
      accounts: chosen ones whose requests were there.
      unread: records that could not be read.
    """

    sealed: int
    accounts: int
    unread: int


@dataclass
class SealIdentifiers:
    """`to_element` of the sources: from records to sealed identifiers of chosen accounts.

    Attributes:
      accounts: whose.
      sealer: of this lab.
      decoder: reads records as `detect` does, and makes its pseudonyms.
    """

    accounts: frozenset[str]
    sealer: Sealer
    decoder: Decoder

    def __call__(self, batch: RecordBatch) -> tuple[SealedPart, NDArray[np.int64]]:
        found: set[Sealed] = set()
        seen: set[str] = set()
        events, unread = self.decoder.requests(batch.values)
        for event in events:
            if event.account_id in self.accounts:
                seen.add(event.account_id)
                found.update(self._sealed(event))
        return SealedPart(frozenset(found), frozenset(seen), unread), np.zeros(1, np.int64)

    def _sealed(self, event: RequestEvent) -> Iterable[Sealed]:
        payment, device = event.payment_fingerprint, event.client_fingerprint
        network = event.ip_prefix
        named = (
            (PAYMENT, payment, self.decoder.pseudonymise(payment)),
            (DEVICE, device, device or ""),
            (NETWORK, network, network or ""),
        )
        for kind, value, name in named:
            if value:
                try:
                    yield Sealed(kind, local_name(name), self.sealer.seal(kind, value))
                except ValueError:
                    continue  # blank, far too long, or no network: no identifier


class _Together(beam.CombineFn):  # type: ignore[misc]
    def create_accumulator(self) -> SealedPart:
        return SealedPart()

    def add_input(self, one: SealedPart, other: SealedPart) -> SealedPart:
        return SealedPart(
            one.identifiers | other.identifiers, one.accounts | other.accounts,
            one.unread + other.unread,
        )  # fmt: skip

    def merge_accumulators(self, parts: Iterable[SealedPart]) -> SealedPart:
        return reduce(self.add_input, parts, SealedPart())

    def extract_output(self, all_of_them: SealedPart) -> SealedPart:
        return all_of_them


@dataclass
class _Write:
    """Writes what was found, and leaves the counts where who runs the job finds them."""

    out: Path
    sealer: Sealer
    suspects: bool

    def __call__(self, found: SealedPart) -> None:
        write_sealed(self.out, found.identifiers, self.sealer, self.suspects)
        Metrics.counter(_COUNTS, "accounts").inc(len(found.accounts))
        Metrics.counter(_COUNTS, "unread").inc(found.unread)


def seal(
    inputs: Sequence[str], accounts: Iterable[str], out: Path, config: Config,
    beam_args: Sequence[str] = (), suspects: bool = False,
) -> SealCounts:  # fmt: skip
    """Seals the identifiers of accounts into a file.

    Records are read by the settings of ingest: their format, the places of fields, and the registry
    of schemas.

    Args:
      inputs: URIs that end.
      accounts: whose identifiers.
      out: file, added to.
      config: settings.
      suspects: nobody has confirmed whose they are; peers may not find what is in the file then.

    Raises:
      DistilwatchError: when there are no accounts, or no requests of theirs in the input, or input
        or file cannot be used.
    """
    chosen = frozenset(accounts)
    if not chosen:
        raise DistilwatchError(
            "there are no accounts to seal identifiers of",
            "--cluster",
            "name a cluster, or accounts",
        )
    sealer = own_sealer()
    write_sealed(out, (), sealer)  # what cannot be written is told before all is read
    to_element: Any = SealIdentifiers(chosen, sealer, decoder(config))
    with embedded_pipeline("direct", beam_args) as pipeline:
        _ = (
            read_events(pipeline, inputs, to_element, Reading(config.ingest.batch_records))
            | "Together" >> beam.CombineGlobally(_Together())
            | "Write" >> beam.Map(_Write(out, sealer, suspects))
        )
    counted = {
        one.key.metric.name: one.result
        for one in pipeline.result.metrics().query(MetricsFilter().with_namespace(_COUNTS))[
            "counters"
        ]
    }
    done = SealCounts(
        write_sealed(out, (), sealer), counted.get("accounts", 0), counted.get("unread", 0)
    )
    if not done.accounts:
        raise DistilwatchError(
            f"none of the {len(chosen):,} accounts has a request in it"
            + (f", and {done.unread:,} records could not be read" if done.unread else ""),
            ", ".join(inputs),
            "check --input and the accounts; and ingest.format, if these are a gateway's records",
        )
    return done
