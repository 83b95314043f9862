"""The last look at what is about to leave: bytes against a list of what may be in them.

It knows nothing of how they were made. A property that nobody has put on the list stays at home,
also one that a later version of this program, or of a library, starts to add.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import orjson

from schemas.errors import DistilwatchError
from transforms.sharing.canonical import EXTENSION
from transforms.sharing.indicators import Kind
from transforms.sharing.payloads import decode_coverage
from transforms.sharing.receive import indicator_of
from transforms.sharing.select import Terms
from transforms.sharing.stix import is_constant
from transforms.sharing.tlp import IDS

_ALWAYS = {"type", "spec_version", "id", "created", "modified", "extensions"}
_OURS = {"extension_type", "signature", "signed_by"}
_BY = {"created_by_ref", "object_marking_refs", "revoked"}
_MAY: Mapping[str, set[str]] = {
    "identity": {"name", "identity_class"},
    "campaign": {*_BY, "name", "description"},
    "relationship": {*_BY, "relationship_type", "source_ref", "target_ref"},
    "indicator": {
        *_BY, "name", "description", "indicator_types", "pattern", "pattern_type",
        "pattern_version", "valid_from", "valid_until", "confidence",
    },
    "sighting": {*_BY, "sighting_of_ref", "first_seen", "last_seen", "count", "where_sighted_refs"},
    "opinion": {*_BY, "opinion", "explanation", "object_refs"},
    "note": {*_BY, "abstract", "content", "object_refs"},
}  # fmt: skip
_OF_INDICATORS = {"kind", "value", "payload", "campaign", "revision"}
_MOST_BYTES = 8 << 20
_LONG = 8
_LEAST = 3
_WORD = re.compile(rf"[\w.@-]{{{_LEAST},}}")
_BLANKS = re.compile(r"""[\s"'`´“”„‘’‚«»‹›<>()\[\]{}]+""")
_BETWEEN = re.compile(r"[,;=]+")
_ENDS = ".,;:!?…@-_|/\\*~"  # of sentences, or of names in them


def check_outgoing(
    data: bytes, terms: Terms, secrets: Iterable[str] = (), now_ms: int = 0
) -> list[dict[str, Any]]:
    """Looks at a bundle that is about to leave.

    Args:
      data: its bytes, as they would leave.
      terms: of the recipient.
      secrets: texts that must not be in it: accounts, clusters, pseudonyms of payment.
      now_ms: what is over by then does not leave, milliseconds UTC.

    Returns:
      Its objects.

    Raises:
      DistilwatchError: naming the first thing that may not leave.
    """
    if len(data) > _MOST_BYTES:
        raise _stop(f"{len(data):,} bytes are more than an exchange needs", terms)
    objects: list[dict[str, Any]] = orjson.loads(data)["objects"]
    # As it is written, as it is read, and what is in payloads.
    text = "\n".join((data.decode("utf-8"), *_texts(objects)))
    words, text = words_of(text), plain(text)
    if any(_is_in(plain(secret), text, words) for secret in secrets):
        # Which one is not said: this message may end in a log.
        raise _stop("the name of an account, cluster or payment instrument is in it", terms)
    for obj in objects:
        if problem := _problem(obj, terms, now_ms):
            raise _stop(f"{obj.get('type')}: {problem}", terms)
    return objects


def words_of(text: str) -> set[str]:
    """What could be a name in a text, of three letters or more, as it is written and as `plain` has
    it: what stands between blanks, quotes or brackets, as a whole and in finer words, with and
    without what may end a sentence."""
    found: set[str] = set()
    for whole in _BLANKS.split(text):
        found |= {whole, *_BETWEEN.split(whole), *_WORD.findall(whole)}
    found |= {word.strip(_ENDS) for word in found}
    found |= {plain(word) for word in found}
    return {word for word in found if len(word) >= _LEAST}


def plain(text: str) -> str:
    """A text without case, and without ways to encode the same letters."""
    return unicodedata.normalize("NFKC", text).casefold()


def _texts(value: Any) -> Iterator[str]:
    """All names and texts in a value, and what payloads hold."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield name
            yield from _texts(one)
            if name == "payload" and isinstance(one, str):
                with suppress(ValueError):
                    yield base64.b64decode(one).decode("utf-8", "replace")


def _is_in(secret: str, text: str, words: set[str]) -> bool:
    """Short names are looked for as words: letters in a row are in any signature."""
    if not secret:
        return False
    return secret in words or (len(secret) >= _LONG and secret in text)


def _problem(obj: Mapping[str, Any], terms: Terms, now_ms: int) -> str:
    if is_constant(obj):
        return ""
    kind = obj["type"]
    may = _MAY.get(kind)
    if may is None:
        return "objects of this type never leave"
    if strangers := sorted(set(obj) - _ALWAYS - may):
        return f"nobody has allowed the property {strangers[0]}"
    extensions = obj.get("extensions", {})
    ours = _OURS | (_OF_INDICATORS if kind == "indicator" else set())
    if set(extensions) - {EXTENSION} or set(extensions.get(EXTENSION, {})) - ours:
        return "nobody has allowed one of its extensions"
    if "signature" not in extensions.get(EXTENSION, {}):
        return "it is not signed"
    if obj.get("revoked") is True:
        return ""  # it says only that what has left holds no more, whatever the policy is by now
    if kind != "identity" and obj.get("object_marking_refs") != [IDS[terms.marking]]:
        return f"it is not marked TLP:{terms.marking.value.upper()}"
    if kind == "campaign" and "description" in obj and not terms.tactics:
        return "tactics may not leave"
    return _of_indicator(obj, terms, now_ms) if kind == "indicator" else ""


def _of_indicator(obj: Mapping[str, Any], terms: Terms, now_ms: int) -> str:
    one = indicator_of(obj)
    if one.kind not in terms.kinds:
        return f"{terms.recipient} may not have kind {one.kind}"
    if one.confidence < terms.least_confidence:
        return f"confidence {one.confidence} is below {terms.least_confidence}"
    if one.valid_until_ms is None or one.valid_until_ms - one.valid_from_ms > terms.valid_ms:
        return "it would hold longer than the policy says"
    if one.valid_until_ms <= now_ms:
        return f"it is over since {obj['valid_until']}"
    if one.kind is Kind.COVERAGE and decode_coverage(one.payload).epsilon > terms.epsilon:
        return f"its ε is above {terms.epsilon:g}"
    return ""


def _stop(what: str, terms: Terms) -> DistilwatchError:
    return DistilwatchError(
        f"stopped at the gate: {what}",
        f"to {terms.recipient}",
        "nothing has left; mend the policy, or report this if it should not happen",
    )
