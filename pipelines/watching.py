"""The watch list from received indicators, and the dry run that lets them out of quarantine."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np

from pipelines.config import Config
from pipelines.console import Console
from pipelines.detect import DetectOptions, detect, make_plan
from pipelines.quarantine import first_state, judged, renewed
from pipelines.settings import SourceConfig
from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from transforms.sharing.indicators import Indicator, newest
from transforms.sharing.watch.likeness import Likeness
from transforms.sharing.watch.listing import (
    LIVE,
    QUARANTINED,
    Watched,
    WatchList,
    change_watch_list,
    read_watch_list,
    write_watch_list,
)
from transforms.sinks import duckdb_path
from transforms.sinks.duckdb_gate import connect_to_read

_WITHOUT, _TRY = "try-without", "try"  # runs
UNSEEN, HARMLESS, COMMON, TOO_COMMON, FLAGS, APART = (
    "unseen", "harmless", "common before", "too common", "flags", "not comparable",
)  # fmt: skip
_MEANING = {
    UNSEEN: "nobody in the history carries it",
    HARMLESS: "carried by few, and flags nobody in the history",
    COMMON: "several benign accounts of the bundle's history share it: never matched",
    TOO_COMMON: "more accounts carry it than the limit allows: held back",
    APART: "a sketch of another embedding space, or the bundle keeps nothing to compare it with",
    FLAGS: "a cluster of the history would be flagged that is not flagged without it",
}


def watched_of(indicators: Iterable[Indicator], config: Config) -> list[Watched]:
    """What to look for of received indicators: newest versions, not taken back.

    An indicator is live at once where its lab is trusted and need not be tried first.
    """
    sources = {source.name: source for source in config.watch.sources}
    return [
        Watched(
            one.indicator_id, one.kind.value, one.value, one.provider, one.confidence / 100,
            one.valid_from_ms, one.valid_until_ms, first_state(sources.get(one.provider)),
            base64.b64encode(one.payload).decode(),
        )
        for one in newest(list(indicators)).values()
        if not one.revoked
    ]  # fmt: skip


def received(uri: str) -> list[Indicator]:
    """Indicators of other labs in tables of DuckDB or BigQuery, or in a .jsonl file of rows.

    Raises:
      DistilwatchError: when they cannot be read.
    """
    if uri.startswith("bigquery:"):
        from pipelines.sharing.tables import tables_at

        return tables_at(uri).indicators("received")
    if not uri.startswith("duckdb:"):
        try:
            rows = [json.loads(line) for line in Path(uri).read_text().splitlines() if line.strip()]
            for row in rows:
                if not isinstance(row, dict):
                    raise ValueError("a line is no JSON object")
                if row.get("direction") not in ("received", "shared"):
                    raise ValueError("a line is no row of the table indicators")
                if row.get("sketch"):  # bytes are in base64 in JSON
                    row["sketch"] = base64.b64decode(row["sketch"], validate=True)
        except (OSError, ValueError, TypeError) as error:
            raise DistilwatchError(
                f"indicators cannot be read ({error})",
                uri,
                "give duckdb:///file, bigquery://project/dataset or a .jsonl file",
            ) from error
        return [Indicator.from_row(row) for row in rows if row.get("direction") == "received"]
    columns = ", ".join(f'"{c.name}"' for c in TABLES["indicators"].columns)
    try:
        with connect_to_read(duckdb_path(uri)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            found = connection.execute(
                f"SELECT {columns} FROM indicators WHERE direction = 'received'"
            )
            names = [c[0] for c in found.description]
            rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    except duckdb.Error as error:
        raise DistilwatchError(
            f"indicators cannot be read ({error})", uri, "give the database that was polled into"
        ) from error
    return [Indicator.from_row(row) for row in rows]


def update_watch_list(path: Path, watched: Sequence[Watched]) -> dict[str, int]:
    """Replaces what a watch list has; what was let out of quarantine before stays out, as long as
    it says the same, and what a dry run has held back stays back: see `pipelines.quarantine`.

    Private matches stay as well: they come from nowhere else. Returns how many are in each state.
    """

    def updated(before: WatchList) -> list[Watched]:
        known = {one.indicator_id: one for one in before.watched}
        kept = [one for one in before.watched if one.indicator_id.startswith("match--")]
        return kept + [renewed(one, known.get(one.indicator_id)) for one in watched]

    return _states(change_watch_list(path, updated).watched)


def _states(watched: Iterable[Watched]) -> dict[str, int]:
    found = {LIVE: 0, QUARANTINED: 0}
    for one in watched:
        found[one.state] += 1
    return found


@dataclass(frozen=True)
class Tried:
    """What a dry run says of one indicator.

    Attributes:
      watched: the indicator.
      verdict: one of `UNSEEN`, `HARMLESS`, `COMMON`, `TOO_COMMON`, `FLAGS`, `APART`.
      accounts: of the history that carry it.
      share: of all accounts of the history.
      clusters: that would be flagged because of it.
    """

    watched: Watched
    verdict: str
    accounts: int
    share: float
    clusters: tuple[str, ...] = ()

    @property
    def passes(self) -> bool:
        return self.verdict in (UNSEEN, HARMLESS)

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "indicator_id": self.watched.indicator_id, "kind": self.watched.kind,
            "source": self.watched.source, "verdict": self.verdict, "accounts": self.accounts,
            "share": self.share, "clusters": list(self.clusters), "passes": self.passes,
        }  # fmt: skip


@dataclass(frozen=True)
class DryRun:
    """Result of `try_indicators`.

    Attributes:
      tried: by indicator.
      accounts: of the history.
      flagged_without, flagged_with: clusters that are flagged in the history.
    """

    tried: tuple[Tried, ...]
    accounts: int
    flagged_without: int
    flagged_with: int

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "accounts": self.accounts,
            "flagged_without": self.flagged_without,
            "flagged_with": self.flagged_with,
            "indicators": [one.as_dict() for one in self.tried],
        }

    def lines(self) -> list[str]:
        """For people."""
        counts = {v: [t for t in self.tried if t.verdict == v] for v in _MEANING}
        return [
            f"{len(self.tried):,} indicators against {self.accounts:,} accounts of the history; "
            f"flagged clusters: {self.flagged_without:,} without them, {self.flagged_with:,} with "
            "them as if all were live and fully trusted.",
            *(
                f"  {len(found):>6,}  {verdict}: {_MEANING[verdict]}"
                for verdict, found in counts.items()
                if found
            ),
        ]


def try_indicators(
    path: Path, inputs: list[str], bundle: Path, output: str, config: Config, console: Console
) -> DryRun:
    """Runs detection over history without a watch list, and with one as if all of it were live.

    Every source is trusted fully and no limit holds anything back, so that what the limits would
    hide is seen here.

    Args:
      path: watch list.
      inputs: history, which ends.
      bundle: to score with.
      output: duckdb:///file for the tables of the run with the list; it must not be there yet, or
        be of another try.
      config: settings.

    Raises:
      DistilwatchError: the list cannot be read, or the output is no DuckDB file.
    """
    if not output.startswith("duckdb:"):
        raise DistilwatchError(
            "a dry run writes a database of its own, which the next one replaces",
            f"--output {output}",
            "give duckdb:///try.duckdb; the history may be in BigQuery (--input bigquery://…)",
        )
    listed = read_watch_list(path)
    _check_replaceable(output)
    with TemporaryDirectory(prefix="distilwatch-try-", dir=config.run.tmp) as folder:
        bare = f"duckdb:///{folder}/without.duckdb"
        _detect(inputs, bundle, bare, config, console, None, _WITHOUT)
        wide = Path(folder) / "watch.json"
        write_watch_list(
            wide, listed.with_states(dict.fromkeys(_ids(listed.watched), LIVE)).watched
        )
        _detect(inputs, bundle, output, config, console, wide, _TRY)
        without = _flagged(bare)
    flagged, seen, accounts = _flagged(output), _sighted(output), _accounts(output)
    options = DetectOptions(inputs, bundle, [output], config, None, None, [])
    known = make_plan(options).bundle.load()
    likeness = Likeness(known, config.watch.likeness_max_p)
    new = {name: members for name, members in flagged.items() if not _known(members, without)}
    tried = [_tried(one, likeness, seen, accounts, new, config) for one in listed.watched]
    return DryRun(tuple(tried), accounts, len(without), len(flagged))


def _check_replaceable(output: str) -> None:
    """Raises DistilwatchError when a file is there that is not of another try: it will be removed,
    and elsewhere --output names tables that are to stay."""
    path = duckdb_path(output)
    if not path.exists():
        return
    try:
        runs = {run for (run,) in _query(output, "SELECT DISTINCT run_id FROM run_health")}
    except duckdb.Error:
        runs = set()
    if runs != {_TRY}:
        raise DistilwatchError(
            "there is something else than a dry run, which would be lost",
            f"--output {output}",
            "give a file that is not there yet, such as duckdb:///try.duckdb",
        )


def release(path: Path, tried: Iterable[Tried]) -> dict[str, int]:
    """Lets what passed a dry run out of quarantine, and puts what did not into it."""
    passes = {t.watched.indicator_id: t.passes for t in tried}

    def after(before: WatchList) -> list[Watched]:
        return [
            judged(one, passes[one.indicator_id]) if one.indicator_id in passes else one
            for one in before.watched
        ]

    return _states(change_watch_list(path, after).watched)


def _ids(watched: Iterable[Watched]) -> list[str]:
    return [one.indicator_id for one in watched]


def _detect(
    inputs: list[str], bundle: Path, output: str, config: Config, console: Console,
    listed: Path | None, run_id: str,
) -> None:  # fmt: skip
    sources: tuple[SourceConfig, ...] = ()
    if listed is not None:
        names = sorted({one.source for one in read_watch_list(listed).watched})
        sources = tuple(SourceConfig(name=name, trust=1.0, tried_first=False) for name in names)
    watch = config.watch.model_copy(
        update={
            "list": str(listed) if listed else None, "sources": sources,
            "most_share": 1.0, "most_source_share": 1.0,
        }
    )  # fmt: skip
    own = config.model_copy(update={"watch": watch})
    duckdb_path(output).unlink(missing_ok=True)
    # Nobody on call is told of history.
    tried = DetectOptions(inputs, bundle, [output], own, "direct", run_id, [], alerts=False)
    detect(tried, console)


def _query(uri: str, sql: str) -> list[tuple[Any, ...]]:
    with connect_to_read(duckdb_path(uri)) as connection:
        return connection.execute(sql).fetchall()


def _flagged(uri: str) -> dict[str, frozenset[str]]:
    rows = _query(
        uri,
        "SELECT c.cluster_id || '/' || c.window_start, m.account_id FROM current_clusters c "
        "JOIN cluster_members m ON m.cluster_id = c.cluster_id AND m.revision = c.revision "
        "AND (m.window_start IS NULL OR m.window_start = c.window_start) "
        "WHERE c.status <> 'resolved'",
    )
    found: dict[str, set[str]] = {}
    for name, account in rows:
        found.setdefault(name, set()).add(account)
    return {name: frozenset(members) for name, members in found.items()}


def _known(members: frozenset[str], without: Mapping[str, frozenset[str]]) -> bool:
    return any(members & before for before in without.values())


def _sighted(uri: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, account in _query(uri, "SELECT indicator_id, account_id FROM sightings"):
        found.setdefault(name, set()).add(account)
    return found


def _accounts(uri: str) -> int:
    [(count,)] = _query(
        uri, "SELECT count(DISTINCT key) FROM session_scores WHERE level = 'profile'"
    )
    return int(count)


def _tried(
    one: Watched, likeness: Likeness, seen: Mapping[str, set[str]], accounts: int,
    new: Mapping[str, frozenset[str]], config: Config,
) -> Tried:  # fmt: skip
    carriers = seen.get(one.indicator_id, set())
    share = len(carriers) / max(accounts, 1)
    flags = tuple(sorted(name for name, members in new.items() if members & carriers))
    limit = max(config.watch.least_accounts, config.watch.most_share * accounts)
    if not likeness.comparable(one):
        verdict = APART
    elif np.isin(np.uint64(one.item), likeness.bundle.common):
        verdict = COMMON
    elif len(carriers) > limit:
        verdict = TOO_COMMON
    elif flags:
        verdict = FLAGS
    else:
        verdict = HARMLESS if carriers else UNSEEN
    return Tried(one, verdict, len(carriers), share, flags)
