"""Reads only those places of a JSON document that are asked for, in one pass of a C parser.

Places are paths such as `metadata.user_api_key_hash`; `*` stands for any name. From all of them a
struct is made that the parser fills; the rest of the document is skipped, not built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from transforms.ingest.refusals import Refused, refused_by

Paths = tuple[str, ...]
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode
_SPACE = b" \t\r\n"


def parts_of(raw: bytes) -> Sequence[bytes | msgspec.Raw]:
    """The documents of a record: one object, or an array of them.

    Raises:
      Refused: it is no JSON.
    """
    if raw.lstrip(_SPACE)[:1] != b"[":
        return [raw]
    try:
        return _split(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused("not_json") from None


class Document:
    """One parsed document.

    Attributes:
      root: what was parsed.
      ways: to each place that may be asked for.
      prefer: names that `*` takes before any other.
    """

    __slots__ = ("prefer", "root", "ways")

    def __init__(self, root: Any, ways: Mapping[str, _Way], prefer: Sequence[str]) -> None:
        self.root, self.ways, self.prefer = root, ways, prefer

    def first(self, paths: Paths) -> Any:
        """The first value at one of the places that is neither missing, null nor ""."""
        for path in paths:
            attributes, rest = self.ways[path]
            node = self.root
            for name in attributes:
                node = getattr(node, name)
                if node is None:
                    break
            if rest:
                node = next(_walk(node, rest, self.prefer), None)
            if node is not None and node != "":
                return node
        return None


class _Way(NamedTuple):
    """Attributes of structs, then names in what was built as it is."""

    attributes: tuple[str, ...]
    rest: tuple[str, ...]


Reader = Callable[[bytes | msgspec.Raw], Document]


@lru_cache(maxsize=16)
def reader(paths: Paths, prefer: tuple[str, ...] = ()) -> Reader:
    """A function that reads the places from a document.

    Raises (the function):
      Refused: it is no JSON object, or has another type on the way to a place.
    """
    tree: dict[str, Any] = {}
    for path in paths:
        node = tree
        for name in path.split("."):
            node = node.setdefault(name, {})
        node[""] = {}  # a value is wanted here
    decode = msgspec.json.Decoder(_struct(tree)).decode
    ways = {path: _way(tree, path) for path in paths}

    def read(raw: bytes | msgspec.Raw) -> Document:
        try:
            return Document(decode(raw), ways, prefer)
        except msgspec.ValidationError as error:
            raise refused_by(error) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Refused("not_json") from None

    return read


def _struct(tree: Mapping[str, Any]) -> Any:
    names = list(tree)
    fields = [(f"f{i}", _kind(tree[name]), None) for i, name in enumerate(names)]
    rename = {f"f{i}": name for i, name in enumerate(names)}
    return msgspec.defstruct("Document", fields, rename=rename, gc=False)


def _kind(tree: Mapping[str, Any]) -> Any:
    """All that is there where a value is wanted or any name will do; else what is asked for."""
    return Any if _whole(tree) else _struct(tree) | None


def _whole(tree: Mapping[str, Any]) -> bool:
    return "" in tree or "*" in tree


def _way(tree: Mapping[str, Any], path: str) -> _Way:
    names, attributes = path.split("."), []
    for i, name in enumerate(names):
        attributes.append(f"f{list(tree).index(name)}")
        tree = tree[name]
        if _whole(tree):
            return _Way(tuple(attributes), tuple(names[i + 1 :]))
    raise AssertionError(path)  # a path ends where a value is wanted


def _walk(node: Any, names: Sequence[str], prefer: Sequence[str]) -> Iterator[Any]:
    """Values under names, those of preferred ones first; neither null nor ""."""
    if not names:
        if node is not None and node != "":
            yield node
        return
    if not isinstance(node, dict):
        return
    name, rest = names[0], names[1:]
    if name != "*":
        yield from _walk(node.get(name), rest, prefer)
        return
    for key in sorted(node, key=lambda k: prefer.index(k) if k in prefer else len(prefer)):
        yield from _walk(node[key], rest, prefer)
