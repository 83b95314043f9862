"""Forgets one account: in tables, spools and bundles, and for all input that is still to come."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipelines.config import Config
from pipelines.console import Console
from pipelines.parts import forgotten_file
from pipelines.stores import stores_of
from transforms.ingest.forgotten import Forgotten, note
from transforms.ingest.pseudonyms import load_key
from transforms.scoring.bundle import load_bundle, save_bundle
from transforms.scoring.signing import home
from transforms.sinks import removal


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
    """

    account: str
    payments: Sequence[str]
    outputs: Sequence[str]
    bundles: Sequence[Path]
    config: Config
    dry_run: bool = False
    allow: bool = False


@dataclass
class Forgot:
    """What was removed, or would be.

    Attributes:
      removed: rows by place and table; of a bundle, the pasts.
      dry_run: whether nothing was changed.
      listed: whether the account's records are refused from now on.
      list_file: where that is written.
    """

    removed: dict[str, dict[str, int]] = field(default_factory=dict)
    dry_run: bool = False
    listed: bool = False
    list_file: str = ""

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
            f"{place}: {number:,} of {table} {verb}."
            for place, tables in self.removed.items()
            for table, number in tables.items()
        ] or [f"Nothing {verb}: no place tells of the account."]
        if self.dry_run:
            return lines
        if self.listed:
            lines.append(f"Its records are refused from now on ({self.list_file}).")
        else:
            lines.append(f"Its records are accepted from now on ({self.list_file}).")
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
    result = Forgot({}, options.dry_run, not options.allow, str(path))
    known = options.account in Forgotten.open(path, key)
    if options.allow:
        if known and not options.dry_run:
            note(path, key, options.account, getpass.getuser(), {}, allow=True)
        return result
    stores = stores_of(options.outputs, config.run.tmp)
    if not known and not options.dry_run:
        note(path, key, options.account, getpass.getuser(), {})
    for store in stores:
        console.step(f"Look into {store.name}")
        with store:
            removals = removal.all_of(options.account, options.payments, store)
            work = removal.count if options.dry_run else removal.remove
            if found := work(store, removals):
                result.removed[store.name] = found
    for folder in options.bundles:
        console.step(f"Look into {folder}")
        if found := _forget_past(folder, options.account, options.dry_run):
            result.removed[str(folder)] = found
    if result.removed and not options.dry_run:
        note(path, key, options.account, getpass.getuser(), result.removed)
    return result


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
