"""Protection of forms: only our own pages may send them.

Each session has a secret of its own that every form repeats (the synchroniser token pattern), and a
browser that says where a form comes from must name this place. The session's cookie is SameSite
besides.
"""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

FIELD = "csrf"


def token_of(connection: HTTPConnection) -> str:
    """The secret of this session, made on first use."""
    found = connection.session.get(FIELD)
    if not isinstance(found, str):
        found = connection.session[FIELD] = secrets.token_urlsafe(24)
    return found


def is_ours(connection: HTTPConnection, token: object, public_url: str) -> bool:
    """Whether a form was sent by a page of ours.

    Args:
      connection: that it came by.
      token: that the form had.
      public_url: under which people reach the pages; "" for the address they asked for.
    """
    kept = connection.session.get(FIELD)
    if not isinstance(kept, str) or not isinstance(token, str):
        return False
    if not secrets.compare_digest(kept.encode(), token.encode()):
        return False
    if connection.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = connection.headers.get("origin")
    if origin is None:
        return True
    own = urlsplit(public_url).netloc or connection.headers.get("host", "")
    try:
        return urlsplit(origin).netloc == own
    except ValueError:  # it is no address
        return False
