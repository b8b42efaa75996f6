"""Values and errors in the words of a message: in one line, and never long."""

from __future__ import annotations

import reprlib

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_SHORT.maxlong = 40


def shown(value: object) -> str:
    """Return a value as a message shows it, cut in the middle if it is long or deep."""
    try:
        return " ".join(_SHORT.repr(value).split())
    except ValueError:  # a whole number of thousands of digits
        return f"a very long {type(value).__name__}"


def one_line(error: Exception) -> str:
    """Return an error's message in one line of at most 200 characters, or its type if it has none."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]} ..."
