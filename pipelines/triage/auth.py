"""Ways to sign in: as the user of this machine, through a trusted proxy, or with OpenID Connect."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Any, Protocol

from starlette.requests import HTTPConnection

from pipelines.settings.triage import TriageConfig
from pipelines.triage.people import ROLES, Person, role_of
from pipelines.user import user_here
from schemas.errors import DistilwatchError

_LONGEST_NAME = 200
_LONGEST_SHOWN = 60  # of a name that is none
_BLANK = " \t"


class Refused(Exception):
    """Who asks is known to be nobody who may; the message says why.

    Attributes:
      who: their name, as one may write it down, where whoever said it is trusted; "" otherwise.
    """

    def __init__(self, why: str, who: str = "") -> None:
        super().__init__(why)
        self.who = who


class SignIn(Protocol):
    """Tells who asks."""

    page: str
    """Where one signs in; "" where there is no such page."""

    def who(self, connection: HTTPConnection) -> Person | None:
        """The person; None for one who has to sign in first.

        Raises:
          Refused: when signing in would not help.
        """


class LocalSignIn:
    """Whoever can reach a loopback address of this machine is its user, and admin."""

    page = ""

    def __init__(self) -> None:
        self._name = user_here()

    def who(self, connection: HTTPConnection) -> Person | None:
        client = connection.client
        if client is None or not _is_loopback(client.host):
            raise Refused("local sign-in is for this machine only")
        return Person(self._name, "admin", "local")


class ProxySignIn:
    """A proxy in front has signed people in, and says in a header who they are.

    Headers count only when the connection itself comes from a configured address: anybody could
    send them.
    """

    page = ""

    def __init__(self, config: TriageConfig) -> None:
        self._trusted = [ip_network(value) for value in config.proxy.trusted]
        self._config = config

    def who(self, connection: HTTPConnection) -> Person | None:
        client = connection.client
        if client is None or not self._trusts(client.host):
            raise Refused("this is reached through its proxy only")
        names = _said(connection, self._config.proxy.name_header)
        if len(names) != 1 or not names[0]:
            raise Refused("the proxy does not say who this is")
        said = _said(connection, self._config.proxy.groups_header)
        if len(said) > 1:  # the first may be the browser's own, which the proxy passed on
            raise Refused("the proxy says twice which groups this is in")
        groups = [one.strip(_BLANK) for one in ",".join(said).split(",") if one.strip(_BLANK)]
        return person_of(names[0], groups, self._config, "proxy")

    def _trusts(self, address: str) -> bool:
        try:
            found = ip_address(address)
        except ValueError:
            return False
        mapped = getattr(found, "ipv4_mapped", None)
        return any((mapped or found) in network for network in self._trusted)


class SessionSignIn:
    """A signed cookie says who signed in, and until when that counts; see `oidc`."""

    page = "/sign-in"

    def who(self, connection: HTTPConnection) -> Person | None:
        kept = connection.session.get("person")
        if not isinstance(kept, Mapping) or kept.get("until", 0) <= time.time():
            return None
        if kept.get("role") not in ROLES:
            return None
        return Person(str(kept["name"]), str(kept["role"]), "oidc")

    @staticmethod
    def begin(session: dict[str, Any], person: Person, seconds: float) -> None:
        """A fresh session: nothing of one that somebody else may have planted is left."""
        session.clear()
        session["person"] = {
            "name": person.name,
            "role": person.role,
            "until": int(time.time() + seconds),
        }

    @staticmethod
    def forget(session: dict[str, Any]) -> None:
        """Ends a session."""
        session.clear()


def person_of(name: str, groups: list[str], config: TriageConfig, how: str) -> Person:
    """A person with their role.

    Raises:
      Refused: when they have none, or the name is none: a name is taken as it is or not at all,
        since one that was cleaned may be that of somebody else.
    """
    if not name or not name.isprintable() or name != name.strip() or len(name) > _LONGEST_NAME:
        shown = ascii(name[:_LONGEST_SHOWN])
        raise Refused(
            f"{shown} is no name: it is empty or longer than {_LONGEST_NAME} letters, or has "
            "letters that cannot be seen, or blanks around it",
            shown,
        )
    role = role_of(name, groups, config.roles)
    if not role:
        raise Refused(f"{name} has no role here; see triage.roles in the settings", name)
    return Person(name, role, how)


def _said(connection: HTTPConnection, header: str) -> list[str]:
    """What a header says, each time, without the blanks around it, which mean nothing there.

    Its bytes are UTF-8, as proxies send it; what is not is read letter by letter (Latin-1).
    """
    found = []
    for text in connection.headers.getlist(header):
        with suppress(UnicodeDecodeError):
            text = text.encode("latin-1").decode()
        found.append(text.strip(_BLANK))
    return found


def sign_in_of(config: TriageConfig) -> SignIn:
    """The configured way."""
    if config.sign_in == "proxy":
        return ProxySignIn(config)
    return SessionSignIn() if config.sign_in == "oidc" else LocalSignIn()


def check_address(config: TriageConfig, host: str) -> None:
    """Raises DistilwatchError when local sign-in would be open to other machines."""
    if config.sign_in == "local" and not _is_loopback(host):
        raise DistilwatchError(
            f"local sign-in makes everybody an admin who reaches {host}",
            f"--host {host}",
            "use 127.0.0.1, or set triage.sign_in to oidc or proxy",
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        found = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)
