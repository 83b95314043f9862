"""Polls a feed, and keeps what may be believed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from pipelines.sharing.policy import Policy
from pipelines.sharing.store import ShareStore
from pipelines.sharing.tables import tables_at
from schemas.errors import DistilwatchError, printable
from transforms.sharing.indicators import MAX_TEXT, Indicator, newest
from transforms.sharing.receive import TOO_EARLY, TOO_LARGE, Received, Refusal, receive

_MOST_LOGGED = 200  # refusals of one poll, and as many of what others say
_MOST_ABOUT = 20  # objects that one of those is about
_MOST_FILE_BYTES = 32 << 20
MENDABLE = ("unknown_source", "bad_signature", "marking_too_strict")
"""Reasons for refusing what another policy would take."""


class PollResult(NamedTuple):
    """What a poll brought.

    Attributes:
      objects: that the feed had.
      received: what was taken, and what was refused.
      changed: indicators that are new here, or newer than what was.
      waits: whether the next poll asks for the same again, because some of it is from the future
        by our clock.
      more: whether the feed has more, which the next poll brings.
    """

    objects: int
    received: Received
    changed: list[Indicator]
    waits: bool
    more: bool


def poll(
    policy: Policy, store: ShareStore, feed_name: str, output: str, again: bool = False,
    file: Path | None = None,
) -> PollResult:  # fmt: skip
    """Fetches what a feed has since the last time, and puts what is believed into `indicators`.

    Of very many objects those come first that the feed has had for longest, and the next poll
    goes on behind them.

    Rows are written before the log says how far the poll came: what is interrupted comes again. So
    does what is from the future by no more than a day: our clock may be late, and then it would be
    lost.

    Args:
      policy, store: of this lab.
      feed_name: in the policy.
      output: duckdb:///file, which is made where there is none, or bigquery://project/dataset.
      again: everything from the beginning.
      file: a bundle that was handed over, instead of the feed's collection.

    Raises:
      DistilwatchError: the feed cannot be read, or the tables cannot be written.
    """
    from transforms.sharing import taxii

    tables = tables_at(output, new_will_do=True)
    place, feed = policy.feed(feed_name)
    last = store.last_poll(feed_name, place.url, output)
    begun = cursor = str(last["added_after"]) if last else ""
    if file is None:
        objects, cursor, more, too_large = taxii.poll(place, "" if again else cursor)
    else:
        objects, more, too_large = read_bundle(file), False, ()
    received = receive(objects, feed, store.now_ms())
    received.refused += [
        Refusal(printable(name[:100]), TOO_LARGE, printable(why)) for name, why in too_large
    ]
    count = len(objects) + len(too_large)
    waits = file is None and any(refusal.reason == TOO_EARLY for refusal in received.refused)
    before = newest(tables.indicators("received"))
    after = newest([*before.values(), *received.indicators])
    changed = [one for name, one in after.items() if before.get(name) != one]
    if changed:
        tables.write(changed, "received")
    entry: dict[str, Any] = {
        "feed": feed_name,
        "where": str(file) if file is not None else place.url,
        "output": output,
        "objects": count,
        "changed": [one.indicator_id for one in changed],
        "said": [
            {
                "type": obj["type"], "id": obj["id"], "by": obj["created_by_ref"],
                "about": (obj.get("object_refs") or [obj.get("sighting_of_ref")])[:_MOST_ABOUT],
                "says": _short(obj.get("opinion") or obj.get("abstract") or obj.get("count")),
            }
            for obj in received.said[:_MOST_LOGGED]
        ],
        "said_count": len(received.said),
        "refused": [refusal._asdict() for refusal in received.refused[:_MOST_LOGGED]],
        "refused_count": len(received.refused),
        "added_after": begun if waits else cursor,
        "policy": policy.digest,
    }  # fmt: skip
    # A timer polls each minute: what says nothing new would fill the log, which only grows.
    if again or file is not None or changed or last is None or _is_news(entry, last):
        store.log.append("poll", store.now_ms(), **entry)
    return PollResult(count, received, changed, waits, more)


def _is_news(entry: Mapping[str, Any], last: Mapping[str, Any]) -> bool:
    """Whether a poll that has changed nothing says more than the one before it."""
    if any(entry[name] != last.get(name) for name in ("added_after", "policy")):
        return True
    if not entry["said"] and not entry["refused"]:
        return False
    return _told(entry) != _told(last)


def _told(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    # Without details: how far from now something is changes each minute.
    refused = [(one["object_id"], one["reason"]) for one in entry["refused"]]
    return entry["said"], entry["said_count"], refused, entry["refused_count"]


def _short(said: object) -> object:
    return said[:MAX_TEXT] if isinstance(said, str) else said


def read_bundle(file: Path) -> list[object]:
    """Objects of a bundle in a file.

    Raises:
      DistilwatchError: it is none, or too large.
    """
    try:
        if file.stat().st_size > _MOST_FILE_BYTES:
            raise DistilwatchError(
                f"it has more than {_MOST_FILE_BYTES:,} bytes", str(file), "ask for a smaller one"
            )
        bundle = orjson.loads(file.read_bytes())
        objects = bundle["objects"]
        if bundle["type"] != "bundle" or not isinstance(objects, list):
            raise ValueError("no list of objects")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DistilwatchError(
            f"it is no STIX bundle ({type(error).__name__})", str(file), "give a bundle of STIX 2.1"
        ) from error
    return list(objects)


def reasons(refused: list[Refusal]) -> dict[str, int]:
    """How many were refused, by reason."""
    found: dict[str, int] = {}
    for refusal in refused:
        found[refusal.reason] = found.get(refusal.reason, 0) + 1
    return dict(sorted(found.items()))
