"""Inputs that are nearly right: those get further into a parser than noise does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

_TOKENS = (
    b"null", b"true", b"-1", b"1e999", b"NaN", b"[]", b"{}", b'""', b'"\\ud800"', b"\x00",
    b"\xff", b"\xef\xbb\xbf", b"[" * 600, b'{"a":' * 600, b"9" * 400, b"%", b"..", b"\n", b"\\",
    "\u202e".encode(), "ß".encode(), b"?", b"#", b"@", b":", b"//",
)  # fmt: skip

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.integers(-(2**70), 2**70) | st.floats()
    | st.text(max_size=12) | st.sampled_from(["", "NaN", "1e400", "\x00", "\ud800", "a" * 300])
)  # fmt: skip
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def mutated(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """One of some inputs with a few bytes changed, cut, doubled or replaced; or noise."""
    data = draw(st.sampled_from(list(seeds)))
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=200))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        to = min(len(data), at + draw(st.integers(0, 16)))
        how = draw(st.integers(0, 5))
        if how == 0:
            data = data[:at] + data[to:]
        elif how == 1:
            data = data[:at] + draw(st.binary(min_size=1, max_size=4)) + data[to:]
        elif how == 2:
            data = data[:to] + data[at:]
        elif how == 3:
            data = data[:at]
        elif how == 4:
            data = data[:at] + draw(st.sampled_from(_TOKENS)) + data[to:]
        else:
            other = draw(st.sampled_from(list(seeds)))
            data = data[:at] + other[min(at, len(other)) :]
    return data


@st.composite
def mangled(draw: st.DrawFn, seeds: Sequence[Any]) -> Any:
    """One of some JSON values with a few of its values or names replaced, or taken out."""
    document = json.loads(json.dumps(draw(st.sampled_from(list(seeds)))))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(document))
        if not places:
            break
        node, key = places[draw(st.integers(0, len(places) - 1))]
        how = draw(st.integers(0, 4))
        if how == 0:
            del node[key]
        elif how == 1 and isinstance(node, dict):
            node[draw(st.text(max_size=8))] = node.pop(key)
        else:
            node[key] = draw(JSON)
    return document


def as_json(value: Any) -> bytes:
    """A value as JSON, lone surrogates and NaN included."""
    return json.dumps(value).encode("utf-8", "surrogatepass")


def _places(node: Any) -> Any:
    pairs = list(node.items()) if isinstance(node, dict) else list(enumerate(node))
    for key, value in pairs:
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)
