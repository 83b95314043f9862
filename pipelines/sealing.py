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
from pathlib import Path
from typing import Any

import apache_beam as beam
import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.config import Config
from pipelines.parts import Reading, embedded_pipeline, read_events
from schemas.errors import DistilwatchError
from transforms.ingest.batch import RecordBatch
from transforms.ingest.pseudonyms import Pseudonymiser, load_key
from transforms.scoring.signing import home
from transforms.sharing.private.identifiers import DEVICE, NETWORK, PAYMENT, Sealed, local_name
from transforms.sharing.private.sealed import Sealer, load_seal_key, write_sealed

SEAL_KEY = "DISTILWATCH_SEAL_KEY"


class _Identified(msgspec.Struct, gc=False):
    account_id: str
    payment_fingerprint: str | None = None
    client_fingerprint: str | None = None
    ip_prefix: str | None = None


_parse = msgspec.json.Decoder(_Identified).decode


def own_sealer() -> Sealer:
    """The sealer of this lab, by its key."""
    return Sealer(load_seal_key(SEAL_KEY, home()))


@dataclass
class SealIdentifiers:
    """`to_element` of the sources: from records to sealed identifiers of chosen accounts.

    Attributes:
      accounts: whose.
      sealer, pseudonymise: of this lab.
    """

    accounts: frozenset[str]
    sealer: Sealer
    pseudonymise: Pseudonymiser

    def __call__(self, batch: RecordBatch) -> tuple[frozenset[Sealed], NDArray[np.int64]]:
        found: set[Sealed] = set()
        for raw in batch.values:
            try:
                event = _parse(raw)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue  # `detect` has made a dead letter of it
            if event.account_id in self.accounts:
                found.update(self._sealed(event))
        return frozenset(found), np.zeros(1, np.int64)

    def _sealed(self, event: _Identified) -> Iterable[Sealed]:
        payment, device = event.payment_fingerprint, event.client_fingerprint
        network = event.ip_prefix
        named = (
            (PAYMENT, payment, self.pseudonymise(payment)),
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
    def create_accumulator(self) -> frozenset[Sealed]:
        return frozenset()

    def add_input(self, one: frozenset[Sealed], other: frozenset[Sealed]) -> frozenset[Sealed]:
        return one | other

    def merge_accumulators(self, parts: Iterable[frozenset[Sealed]]) -> frozenset[Sealed]:
        return frozenset().union(*parts)

    def extract_output(self, all_of_them: frozenset[Sealed]) -> frozenset[Sealed]:
        return all_of_them


def seal(
    inputs: Sequence[str], accounts: Iterable[str], out: Path, config: Config,
    beam_args: Sequence[str] = (), suspects: bool = False,
) -> int:  # fmt: skip
    """Seals the identifiers of accounts into a file; returns how many the file has then.

    Args:
      inputs: URIs that end.
      accounts: whose identifiers.
      out: file, added to.
      config: settings.
      suspects: nobody has confirmed whose they are; peers may not find what is in the file then.

    Raises:
      DistilwatchError: when there are no accounts, or input or file cannot be used.
    """
    chosen = frozenset(accounts)
    if not chosen:
        raise DistilwatchError(
            "there are no accounts to seal identifiers of",
            "--cluster",
            "name a cluster, or accounts",
        )
    ingest = config.ingest
    pseudonymise = Pseudonymiser(load_key(ingest.hmac_key_env, ingest.hmac_key_file, home()))
    sealer = own_sealer()
    write_sealed(out, (), sealer, suspects)  # what cannot be written is told before all is read
    to_element: Any = SealIdentifiers(chosen, sealer, pseudonymise)
    with embedded_pipeline("direct", beam_args) as pipeline:
        _ = (
            read_events(pipeline, inputs, to_element, Reading(ingest.batch_records))
            | "Together" >> beam.CombineGlobally(_Together())
            | "Write" >> beam.Map(lambda found: write_sealed(out, found, sealer, suspects))
        )
    return write_sealed(out, (), sealer)
