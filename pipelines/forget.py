"""Forgets one account: in tables, spools, books of alerts and bundles, and for all input that is
still to come."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from pipelines.config import Config
from pipelines.console import Console
from pipelines.oncall import book_path
from pipelines.parts import forgotten_file
from pipelines.stores import stores_of
from pipelines.user import user_here
from schemas.errors import DistilwatchError
from schemas.mention import mention
from schemas.tables import TABLES
from transforms.alerts.allowlist import Allowlist
from transforms.alerts.forgetting import forget_in_book
from transforms.alerts.part import read_part
from transforms.ingest.forgotten import Forgotten, note
from transforms.ingest.pseudonyms import load_key
from transforms.ingest.sealing import letter_keys
from transforms.scoring.bundle import load_bundle, save_bundle, verify_bundle
from transforms.scoring.signing import home
from transforms.scoring.store import bundles_in, is_store
from transforms.sinks import removal
from transforms.sinks.removal import Removal
from transforms.sinks.stores import Store
from transforms.sinks.stores.bigquery import BigQueryStore
from transforms.sinks.stores.parquet import SpoolStore


@dataclass(frozen=True)
class ForgetOptions:
    """Whom to forget, and where.

    Attributes:
      account: its id.
      payments: pseudonyms of payment fingerprints, as in `session_scores.key`, that were only its.
      outputs: URIs.
      bundles: folders.
      dry_run: only count.
      allow: let the account come back instead.
      empty_letters: empty all sealed records of dead letters, such as where their key is lost.
    """

    account: str
    payments: Sequence[str]
    outputs: Sequence[str]
    bundles: Sequence[Path]
    config: Config
    dry_run: bool = False
    allow: bool = False
    empty_letters: bool = False


@dataclass
class Forgot:
    """What was removed, or would be.

    Attributes:
      removed: rows by place and table, those that stay without what told of it among them; of a
        bundle, the pasts.
      dry_run: whether nothing was changed.
      listed: whether the account's records are refused from now on.
      list_file: where that is written.
      looked: whether any table or bundle was named.
      left: what people must do themselves.
    """

    removed: dict[str, dict[str, int]] = field(default_factory=dict)
    dry_run: bool = False
    listed: bool = False
    list_file: str = ""
    looked: bool = True
    left: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "removed": self.removed,
            "dry_run": self.dry_run,
            "listed": self.listed,
            "list": self.list_file,
        }

    def lines(self) -> list[str]:
        """For people."""
        verb = "would be removed" if self.dry_run else "removed"
        lines = [
            f"{place}: {number:,} of {table} {verb}{' or emptied' * (table in TABLES)}."
            for place, tables in self.removed.items()
            for table, number in tables.items()
        ] or [
            f"Nothing {verb}: no place tells of the account."
            if self.looked
            else f"Nothing {verb}: neither --output nor --bundle says where to look."
        ]
        if self.dry_run:
            return lines
        if self.listed:
            lines.append(f"Its records are refused from now on ({self.list_file}).")
        else:
            lines.append(f"Its records are accepted from now on ({self.list_file}).")
        if any(place.startswith("bigquery:") for place in self.removed):
            lines.append("BigQuery can go back for the hours that the dataset's time travel has.")
        return lines


def forget(options: ForgetOptions, console: Console) -> Forgot:
    """Removes an account; a second time finds nothing.

    The list comes first: what is removed after that cannot come back by a run that begins
    meanwhile.

    Raises:
      DistilwatchError: when a place cannot be changed; what was done before stays, and the same
        command goes on from there.
    """
    config = options.config
    path = forgotten_file(config)
    key = load_key(config.ingest.hmac_key_env, config.ingest.hmac_key_file, home())
    left = _allowed_by_name(options)
    looked = bool(options.outputs or options.bundles)
    result = Forgot({}, options.dry_run, not options.allow, str(path), looked, left)
    known = options.account in Forgotten.open(path, key)
    if options.allow:
        if known and not options.dry_run:
            note(path, key, options.account, user_here(), {}, allow=True)
        return result
    stores = [*stores_of(options.outputs, config.run.tmp), *_spools_elsewhere(options)]
    bundles = [*chain.from_iterable(map(_bundles_of, options.bundles))]
    # Before anything is changed.
    for folder in bundles:
        verify_bundle(folder)
    for store in stores:
        if isinstance(store, SpoolStore):
            store.check_free()
    if not known and not options.dry_run:
        note(path, key, options.account, user_here(), {})
    alone: set[str] = set()
    for store in stores:
        console.step(f"Look into {store.name}")
        with store:
            alone.update(removal.clusters_of(options.account, store))
            if found := _forget_rows(store, options):
                result.removed[store.name] = found
            if isinstance(store, BigQueryStore) and not options.dry_run:
                store.clear_passing()  # nobody writes meanwhile, as the command asks for
    for book in _books(options):
        console.step(f"Look into {book}")
        if number := forget_in_book(book, options.account, alone, options.dry_run):
            result.removed[str(book)] = {"alerts": number}
    for folder in bundles:
        console.step(f"Look into {folder}")
        if found := _forget_past(folder, options.account, options.dry_run):
            result.removed[str(folder)] = found
    if result.removed and not options.dry_run:
        note(path, key, options.account, user_here(), result.removed)
    return result


def _spools_elsewhere(options: ForgetOptions) -> list[SpoolStore]:
    """Spools of runs on Flink, and of runs without a local output, which are not beside one."""
    flink, tmp = options.config.flink.spool, options.config.run.tmp
    found = [Path(flink)] if flink else []
    if tmp and any(uri.startswith("bigquery:") for uri in options.outputs):
        found += sorted(Path(tmp).glob("distilwatch-*.spool"))
    return [SpoolStore(folder) for folder in found if folder.is_dir()]


def _forget_rows(store: Store, options: ForgetOptions) -> dict[str, int]:
    removals = removal.all_of(options.account, options.payments, store)
    removals += _letters(store, options)
    found = (removal.count if options.dry_run else removal.remove)(store, removals)
    if isinstance(store, SpoolStore) and (files := store.forget_passing(options.dry_run)):
        found["files of recent items"] = files
    return found


def _letters(store: Store, options: ForgetOptions) -> list[Removal]:
    """Sealed records of dead letters that name the account; the letters stay, to be counted.

    Raises:
      DistilwatchError: there are sealed records, and a key is missing.
    """
    sealed = store.values(
        "SELECT CONCAT(COALESCE(d.raw_sha256, ''), ' ', TO_HEX(d.raw), ' ', "
        "CAST(d.partition AS STRING), ' ', CAST(d.offset AS STRING), ' ', d.source) "
        "FROM dead_letters AS d WHERE d.raw IS NOT NULL"
    )
    if not sealed:
        return []
    if options.empty_letters:
        return [Removal("dead_letters", "raw IS NOT NULL", "raw")]
    keys = letter_keys(options.config.ingest.dead_letter_key_env)
    if keys is None:
        raise DistilwatchError(
            f"{len(sealed):,} dead letters hold sealed records, which may name the account",
            store.name,
            "set ingest.dead_letter_key_env to the variable with the keys that sealed them; where "
            "a key is lost, say --empty-letters",
        )
    digests = set()
    for text in sealed:
        digest, raw, partition, offset, source = text.split(" ", 4)
        record = keys.open(bytes.fromhex(raw), (source, int(partition), int(offset)))
        if _names(record, options.account):
            digests.add(digest)
    listed = ", ".join(map(store.quote, sorted(digests)))
    where = f"raw IS NOT NULL AND COALESCE(raw_sha256, '') IN ({listed})"
    return [Removal("dead_letters", where, "raw")] if digests else []


def _names(record: bytes, account: str) -> bool:
    """Whether a record that may be no valid JSON, or Avro, names an account."""
    if record.lstrip()[:1] not in (b"{", b"["):
        return account.encode() in record  # in Avro nothing stands between texts
    return any(
        re.search(mention(name).encode(), record, re.ASCII)
        for name in {account, json.dumps(account)[1:-1]}
    )


def _books(options: ForgetOptions) -> list[Path]:
    """Books of alerts of runs that wrote to the outputs."""
    paths = (book_path(options.config.alerts, [uri]) for uri in options.outputs)
    return [path for path in dict.fromkeys(paths) if path is not None and path.is_file()]


def _allowed_by_name(options: ForgetOptions) -> list[str]:
    """What to do about an allowlist that names the account: it is the house's own file."""
    path = options.config.alerts.allow
    entries = read_part(Path(path).expanduser(), Allowlist).allow if path else ()
    named = [entry.name for entry in entries if options.account in entry.accounts]
    return [f"take it out of {path} ({', '.join(named)})"] if named else []


def _bundles_of(folder: Path) -> list[Path]:
    """A bundle, or all of a folder of bundles: somebody may go back to an older one."""
    return bundles_in(folder) if is_store(folder) else [folder]


def _forget_past(folder: Path, account: str, dry_run: bool) -> dict[str, int]:
    bundle = load_bundle(folder)
    past, groups = bundle.past.without(account), bundle.groups.without(account)
    gone = {
        "pasts": len(bundle.past.account) - len(past.account),
        "pasts of groups": len(bundle.groups.account) - len(groups.account),
    }
    gone = {what: number for what, number in gone.items() if number}
    if gone and not dry_run:
        save_bundle(replace(bundle, past=past, groups=groups), folder)
    return gone
