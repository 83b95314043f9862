"""The form of what a command says on standard error: text, or JSON, as its settings want it.

It is remembered here, because what ends a command is said outside of it (`pipelines.cli`). Nothing
is imported: this is there before anything else is.
"""

from __future__ import annotations

_form = "text"


def set_form(form: str) -> None:
    """From now on "text", or "json"."""
    global _form
    _form = form


def is_json() -> bool:
    """Whether each line is to be an object of JSON."""
    return _form == "json"
