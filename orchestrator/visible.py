"""Text from elsewhere, safe to show: nothing in it moves the cursor or turns a line around."""

import re

_UNSEEN = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f"  # control characters
    "\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069"  # change the direction of what follows
    "\\u2028\\u2029\\ufeff\\ud800-\\udfff]"  # line ends of some programs; halves of characters
)


def unseen(text: str) -> str | None:
    """The first character of a text that nobody would see; None when there is none."""
    match = _UNSEEN.search(text)
    return match[0] if match else None


def visible(text: str) -> str:
    """The text with such characters written out, `\\x1b`; tabs and newlines stay."""
    return _UNSEEN.sub(lambda match: match[0] if match[0] in "\t\n" else _named(match), text)


def one_line(text: str) -> str:
    """The text with all of them written out."""
    return _UNSEEN.sub(_named, text)


def _named(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]
