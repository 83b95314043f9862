"""Who asks, and what they may do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipelines.settings.triage import RolesConfig

ROLES = ("viewer", "responder", "admin")
ROLE_WORDS = {"viewer": "a viewer", "responder": "a responder", "admin": "an admin"}
"""Each may do what those before it may, and more."""

GROUP_PREFIX = "group:"
"""Before the name of a group in the settings, so that no person of that name is meant."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who signed in.

    Attributes:
      name: stands in decisions and in the audit log.
      role: of ROLES.
      how: of signing in: local, proxy or oidc.
    """

    name: str
    role: str
    how: str

    def may(self, role: str) -> bool:
        """Whether they may do what a role may."""
        return ROLES.index(self.role) >= ROLES.index(role)


def role_of(name: str, groups: Iterable[str], roles: RolesConfig) -> str:
    """The highest role of a person by name or groups; "" for none.

    Args:
      name: which is never that of a group: what begins with `group:` in the settings is none.
      groups: that they are in, each meant by its name and by `group:NAME`.
      roles: who has which.
    """
    known = {"*"}
    for group in groups:
        known |= {group, f"{GROUP_PREFIX}{group}"}
    if not name.startswith(GROUP_PREFIX):
        known.add(name)
    for role in reversed(ROLES):
        if known & set(getattr(roles, role)):
            return role
    return ""
