"""Objects to and from a collection of a TAXII 2.1 server, through taxii2-client.

What the client leaves open is closed here: every request has a time limit and is tried again when
the server is busy, an answer has a largest size, and what goes wrong is one message that says what
to mend.
"""

from __future__ import annotations

import logging
import os
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qs, urlsplit

import requests
from requests.adapters import HTTPAdapter
from taxii2client.common import TokenAuth, _HTTPConnection
from taxii2client.exceptions import TAXIIServiceException
from taxii2client.v21 import Collection, as_pages
from urllib3.exceptions import DecodeError, HTTPError
from urllib3.util import Retry

from schemas.errors import DistilwatchError, printable
from transforms.sharing.arrived import MOST_BYTES, Arrived, FullError, key_of, moment
from transforms.sharing.canonical import canonical
from transforms.sharing.stix import Stix

# It warns when a server's pages are smaller than we ask for, which is the server's right.
logging.getLogger("taxii2client").setLevel(logging.ERROR)
_LOG = logging.getLogger(__name__)
_PAGE = 100
_CHUNK_BYTES = 1 << 20  # of an envelope that is sent
_ANSWER_BYTES = 32 << 20
_MOST_OBJECTS = 50_000  # of one poll
_TIMEOUT_S = 30.0
_MOST_PAUSE_S = 30  # that a busy server may ask for before it is tried again
_ANSWER_S = 120.0  # for the whole of one answer, however steadily it trickles
_TRIES = 4
_MOST_AHEAD = timedelta(days=1)  # of our clock, that a server's may be
_READ_BYTES = 1 << 16
# What the client raises on answers that no honest server gives.
_CLIENT_FAILS = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Place:
    """A collection, and how to be let in; secrets are in the environment, never in files.

    Attributes:
      name: of the recipient or feed, for messages.
      url: of the collection.
      user_env, password_env: names of variables for basic authentication; "" for none.
      token_env: name of a variable with an API token; "" for none.
      ca_file: certificates to trust; "" for those of the system.
      wait_s: longest pause of the server in one answer.
    """

    name: str
    url: str
    user_env: str = ""
    password_env: str = ""
    token_env: str = ""
    ca_file: str = ""
    wait_s: float = _TIMEOUT_S


class Polled(NamedTuple):
    """What a collection had.

    Attributes:
      objects: as they came.
      added_after: to ask from next time; what comes twice is no harm.
      more: whether there is more from there on by now.
      too_large: what was dropped for its size, as (id, what was wrong with it).
    """

    objects: list[Any]
    added_after: str
    more: bool = False
    too_large: Sequence[tuple[str, str]] = ()


class _TooLarge(requests.RequestException):  # type: ignore[misc]
    """An answer that is larger than any honest one."""


class _TooSlow(requests.RequestException):  # type: ignore[misc]
    """An answer that never ends."""


class _Adapter(HTTPAdapter):  # type: ignore[misc]
    """Adds a time limit, further tries, and a largest answer to every request.

    A page that follows another is not asked for again when its answer was lost: servers remember
    how far a reader has come (medallion 3.0 does), and would go on behind the lost page.
    """

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        tries = Retry(
            total=_TRIES, backoff_factor=0.3, status_forcelist=(429, 502, 503, 504),
            allowed_methods=None, respect_retry_after_header=True, raise_on_status=False,
            retry_after_max=_MOST_PAUSE_S,
        )  # fmt: skip
        super().__init__(max_retries=tries)
        # These two say that the server has not begun.
        self._next_pages = HTTPAdapter(max_retries=tries.new(read=0, status_forcelist=(429, 503)))

    def close(self) -> None:
        self._next_pages.close()
        super().close()

    def send(self, request: Any, **options: Any) -> Any:
        options.update(stream=True, timeout=self._wait_s)
        follows = "next" in parse_qs(urlsplit(request.url).query)
        send = self._next_pages.send if follows else super().send
        response = send(request, **options)
        try:
            body = _body(response.raw)
        except DecodeError as error:
            raise requests.exceptions.ContentDecodingError(error) from error
        except HTTPError as error:  # the connection was cut, or nothing came for too long
            raise requests.ConnectionError(error) from error
        finally:
            response.close()
        response._content, response._content_consumed = body, True
        return response


def _body(raw: Any) -> bytes:
    """An answer, which is neither endless in size nor in time.

    Raises:
      _TooLarge, _TooSlow: it is.
      HTTPError: the connection was cut, or nothing came for too long.
    """
    deadline = time.monotonic() + _ANSWER_S
    body = bytearray()
    while part := raw.read1(_READ_BYTES, decode_content=True):
        body += part
        if len(body) > _ANSWER_BYTES:
            raise _TooLarge(f"an answer of more than {_ANSWER_BYTES:,} bytes")
        if time.monotonic() > deadline:
            raise _TooSlow(f"an answer that takes longer than {_ANSWER_S:.0f} s")
    return bytes(body)


def publish(place: Place, objects: Sequence[Mapping[str, Any]]) -> int:
    """Adds objects to a collection; those that it has already change nothing.

    Definitions of extensions stay out: medallion 3.0 takes their property `version` for a time, and
    from then on answers no reader of the collection. Every receiver that can use our properties
    knows them.

    Returns:
      Objects that the server took.

    Raises:
      DistilwatchError: when the server cannot be reached, or refuses one.
    """
    taken = 0
    with _collection(place) as collection:
        if not collection.can_write:
            raise _failed(place, "we may not write to this collection", "ask its operator")
        sent = [obj for obj in objects if obj["type"] != "extension-definition"]
        for chunk in _chunks(sent):
            status = collection.add_objects(canonical({"objects": chunk}), timeout=_TIMEOUT_S)
            # Some servers call it a failure when they have an object already.
            failed = _missing(place, collection, chunk, [str(f.get("id")) for f in status.failures])
            if status.status != "complete" or failed:
                raise _failed(
                    place,
                    f"it took {taken + len(chunk) - len(failed)} of {len(sent)} objects, not "
                    f"{failed[0] if failed else 'yet the last ones'}",
                    "publish again, which sends what is missing",
                )
            taken += len(chunk)
    return taken


def poll(place: Place, added_after: str = "") -> Polled:
    """The objects that were added to a collection after a time; of very many those that came first.

    All versions of an object are asked for: the latest one may be anybody's, and be refused.
    Whatever is larger than an honest object is dropped as it arrives, and what makes an answer too
    large to be read is passed over, so that nobody who may write keeps others from reading.

    Args:
      place: the collection.
      added_after: as the last poll returned it; "" for everything.

    Raises:
      DistilwatchError: when the server cannot be reached, or answers what is no TAXII.
    """
    asked = {"version": "all"} | ({"added_after": added_after} if added_after else {})
    with _collection(place) as collection:
        if not collection.can_read:
            raise _failed(place, "we may not read this collection", "ask its operator")
        # The manifest is asked first: what comes between is fetched now, and again next time.
        found = list(islice(_paged(place, collection.get_manifest, asked), _MOST_OBJECTS + 1))
        entries = [entry if isinstance(entry, Mapping) else {} for entry in found]
        more = len(entries) > _MOST_OBJECTS
        if more:
            entries = _whole(place, entries, len(entries) - 1)
        arrived = Arrived(MOST_BYTES)
        try:
            _fetch(place, collection, asked, entries, more, arrived)
        except FullError as full:
            entries, more = _whole(place, entries, full.at), True
        newest = _newest(added_after, entries)
        if more and newest == added_after:
            raise _too_many(place)
    return Polled(arrived.objects, newest, more, arrived.too_large)


def _fetch(
    place: Place, collection: Any, asked: Mapping[str, str], entries: Sequence[Mapping[str, Any]],
    more: bool, arrived: Arrived,
) -> None:  # fmt: skip
    """Fetches what a manifest lists, page by page; where a page is too large, by name.

    Raises:
      FullError: there is more of it than one poll may bring.
    """
    # Both come in the order in which they were added (TAXII 2.1, 3.4 and 3.6).
    pages = _paged(place, collection.get_objects, asked)
    try:
        for at, obj in enumerate(islice(pages, _MOST_OBJECTS)):
            arrived.add(obj, at)
        if not more and next(pages, None) is not None:
            raise _too_many(place)
    except _TooLarge:
        # From the beginning, without what is there: medallion 3.0 would go on behind this page.
        _fetch_by_name(place, collection, asked, entries, arrived)


def _fetch_by_name(
    place: Place, collection: Any, asked: Mapping[str, str], entries: Sequence[Mapping[str, Any]],
    arrived: Arrived,
) -> None:  # fmt: skip
    """Fetches what of a manifest has not arrived, fewer at a time while answers are too large; one
    that is so by itself is passed over.

    Raises:
      FullError: there is more of it than one poll may bring.
    """
    keys = ((at, key_of(entry)) for at, entry in enumerate(entries))
    missing = [(at, key) for at, key in keys if key is not None and key not in arrived.seen]
    begin, together = 0, _PAGE // 4  # all of their names and versions are in a URL
    while begin < len(missing):
        part = missing[begin : begin + together]
        names = {name for _, (name, _) in part}
        versions = sorted({version for _, (_, version) in part if version is not None})
        wanted = {key for _, key in part} | {(name, None) for name in names}
        filters = {**asked, "id": sorted(names), "version": versions or "all"}
        try:
            for obj in islice(_paged(place, collection.get_objects, filters), _MOST_OBJECTS):
                key = key_of(obj)
                if key in wanted and key not in arrived.seen:
                    arrived.add(obj, part[0][0])
            grown = min(2 * together, _PAGE // 4)  # one that is too large makes no others slow
        except _TooLarge as error:
            if together > 1:
                together //= 2
                continue
            _LOG.warning("passed over in %s: %s", place.name, printable(part[0][1][0][:100]))
            arrived.miss(part[0][1], str(error))
            grown = 2
        begin, together = begin + len(part), grown


def _newest(newest: str, entries: Sequence[Mapping[str, Any]]) -> str:
    """The latest time in a manifest. Behind one that is none, or far from now, everything to come
    would be passed over."""
    latest = datetime.now(UTC) + _MOST_AHEAD
    for entry in entries:
        at = moment(entry.get("date_added"))
        if at is not None and at <= latest:
            before = moment(newest)
            newest = newest if before is not None and before >= at else str(entry["date_added"])
    return newest


def _whole(place: Place, entries: Sequence[Mapping[str, Any]], end: int) -> list[Mapping[str, Any]]:
    """Of a manifest that goes on those entries behind whose time nothing can be that came before:
    those of earlier times than the one at `end`."""
    moments = [moment(entry.get("date_added")) for entry in entries]
    known = [at for at in moments if at is not None]
    whole = bisect_left(known, known[end]) if len(known) == len(moments) > end else 0
    if not whole or len(known) < len(moments) or known != sorted(known):
        raise _too_many(place)
    return list(entries[:whole])


def _too_many(place: Place) -> DistilwatchError:
    return _failed(
        place,
        f"it has more than {_MOST_OBJECTS:,} new objects, or {MOST_BYTES >> 20:,} MiB, and no "
        "order to take them in parts",
        "ask its operator to empty the collection",
    )


def _missing(
    place: Place, collection: Any, chunk: Sequence[Stix], failed: Sequence[str]
) -> list[str]:
    """Of objects that a server did not take those that it does not have, by id."""
    if not failed:
        return []
    there = set()
    for start in range(0, len(failed), _PAGE // 2):
        asked = {"id": list(failed[start : start + _PAGE // 2]), "version": "all"}
        for entry in islice(_paged(place, collection.get_manifest, asked), _MOST_OBJECTS):
            there.add((entry.get("id"), moment(entry.get("version"))))
    return [
        obj["id"]
        for obj in chunk
        if obj["id"] in set(failed)
        and (obj["id"], moment(obj.get("modified", obj["created"]))) not in there
    ]


def _paged(place: Place, call: Any, after: Mapping[str, Any]) -> Iterator[Any]:
    for page in as_pages(call, per_request=_PAGE, **after):
        items = page.get("objects", []) if isinstance(page, Mapping) else None
        if not isinstance(items, list):
            raise _failed(place, "its answer is no TAXII envelope", "check the URL")
        yield from items
        if not items:
            return


def _chunks(objects: Sequence[Mapping[str, Any]]) -> Iterator[list[Stix]]:
    chunk: list[Stix] = []
    size = 0
    for obj in objects:
        length = len(canonical(obj))
        if chunk and size + length > _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(dict(obj))
        size += length
    if chunk:
        yield chunk


@contextmanager
def _collection(place: Place) -> Iterator[Any]:
    parts = _parts(place.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _failed(place, "its URL is none", "give https://server/root/collections/ID/")
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise _failed(place, "it is not reached by https", "give an https URL")
    options: dict[str, Any] = {"version": "2.1", "verify": place.ca_file or True}
    if place.token_env:
        options["auth"] = TokenAuth(_secret(place, place.token_env))
    elif place.user_env:
        options["user"] = _secret(place, place.user_env)
        options["password"] = _secret(place, place.password_env)
    if place.ca_file and not os.access(place.ca_file, os.R_OK):
        raise _failed(place, f"its ca_file {place.ca_file} cannot be read", "check the path")
    connection = _HTTPConnection(**options)
    connection.session.max_redirects = 0
    for scheme in ("http://", "https://"):
        connection.session.mount(scheme, _Adapter(place.wait_s))
    try:
        yield Collection(place.url.rstrip("/") + "/", conn=connection)
    except requests.HTTPError as error:
        raise _answered(place, error.response) from error
    except requests.exceptions.SSLError as error:
        raise _failed(place, "its certificate is not trusted", "give ca_file") from error
    except (requests.ConnectionError, requests.Timeout) as error:
        raise _failed(
            place, "it does not answer", "check URL and network; nothing is lost, try again"
        ) from error
    except (requests.RequestException, TAXIIServiceException, *_CLIENT_FAILS) as error:
        raise _failed(
            place, f"its answer cannot be read: {str(error)[:200]}", "check the URL"
        ) from error
    finally:
        connection.close()


def _secret(place: Place, variable: str) -> str:
    value = os.environ.get(variable, "")
    if not value:
        raise _failed(place, f"the variable {variable or 'of its password'} is not set", "set it")
    return value


def _answered(place: Place, response: Any) -> DistilwatchError:
    status = getattr(response, "status_code", 0)
    what, mend = {
        401: ("it does not know us", "check the variables with user, password or token"),
        403: ("it does not let us do that", "ask its operator for the right"),
        404: ("there is no such collection", "check the URL"),
        413: ("it takes no envelopes of this size", "ask its operator for a larger limit"),
        429: ("it is too busy", "try again later"),
    }.get(status, (f"it answers with status {status}", "try again; then ask its operator"))
    return _failed(place, what, mend)


def _parts(url: str) -> SplitResult:
    """The parts of a URL; none of one with brackets that hold no address."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _failed(place: Place, what: str, mend: str) -> DistilwatchError:
    shown = _parts(place.url)
    where = shown._replace(netloc=shown.netloc.rpartition("@")[2]).geturl()
    return DistilwatchError(f"TAXII server of {place.name}: {what}", where, mend)
