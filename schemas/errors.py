"""The one error that is meant for people."""

from __future__ import annotations

import re


class DistilwatchError(Exception):
    """Something that the user can mend.

    Attributes:
      what: what is wrong.
      where: file, setting or address.
      mend: what to do about it.
    """

    def __init__(self, what: str, where: str = "", mend: str = "") -> None:
        super().__init__(what, where, mend)
        self.what, self.where, self.mend = what, where, mend

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        return f"{self.what}{place}" + (f": {self.mend}" if self.mend else "")


def not_installed(use: str, extra: str, module: str) -> DistilwatchError:
    """The error for a part that is installed only where it is wanted.

    Args:
      use: what it is needed for, such as "BigQuery".
      extra: of setup.py that brings it.
      module: that was not found.
    """
    return DistilwatchError(
        f"what is needed for {use} is not installed", module, how_to_install(extra)
    )


_BY_MAKE_INSTALL = ("triage", "otlp")  # extras that are in requirements.lock


def how_to_install(extra: str) -> str:
    """What to type to have an extra."""
    make = "install" if extra in _BY_MAKE_INSTALL else "install-all"
    return f'`make {make}`, or pip install ".[{extra}]" in the repository'


_WHILE = re.compile(r" \[while running '[^']*'\]")  # put by Beam into what a step raises


def plain(text: str) -> str:
    """A message without what Beam has put into it."""
    return _WHILE.sub("", text)


def told_by_a_worker(error: BaseException) -> DistilwatchError | None:
    """Our own error out of the text that a runner makes of it; None when it was another."""
    ours = rf"^{DistilwatchError.__module__}\.{DistilwatchError.__name__}: (.+)$"
    found = re.findall(ours, str(error), re.MULTILINE)
    return DistilwatchError(plain(found[-1])) if found else None


def printable(text: str, keep: str = "") -> str:
    """Text of a stranger without what a terminal obeys.

    Args:
      text: with names out of requests or messages, perhaps.
      keep: signs that stay although they are not printable, such as line ends.
    """
    return "".join(
        sign if sign.isprintable() or sign in keep else "\N{REPLACEMENT CHARACTER}" for sign in text
    )


def without_user(uri: str) -> str:
    """An address for messages, without what may be a user's password in it.

    All of it goes but the scheme: where a password ends is not known of what is no address.

    >>> without_user("kafka://me:pass/word@broker:9092/requests")
    'kafka://…'
    >>> without_user("kafka://broker:9092/requests")
    'kafka://broker:9092/requests'
    """
    return f"{uri.partition('://')[0]}://…" if "@" in uri else uri
