"""Making foreign text safe to show: without control characters, reversed direction and markup."""

import re

_UNSEEN = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f"  # control characters
    "\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069"  # change the direction of what follows
    "\\u2028\\u2029\\ufeff\\ud800-\\udfff]"  # line ends of some programs; halves of characters
)


def unseen(text: str) -> str | None:
    """The first invisible character of a text; None if there is none."""
    match = _UNSEEN.search(text)
    return match[0] if match else None


def visible(text: str) -> str:
    """The text with invisible characters as `\\x1b`; tabs and newlines stay."""
    return _UNSEEN.sub(lambda match: match[0] if match[0] in "\t\n" else _named(match), text)


def one_line(text: str) -> str:
    """The text with all invisible characters written out, including tabs and newlines."""
    return _UNSEEN.sub(_named, text)


_MARKUP = re.compile(r"[\\`*\[\]<>|~]|(?<![^\W_])_|_(?![^\W_])|&(?=[#\w])")
"""What Markdown may take for markup in the middle of a line; `_` inside a word is none."""


def markdown(text: str) -> str:
    """The text as Markdown on one line: it is shown as it stands, with nothing taken for markup."""
    return _MARKUP.sub(
        lambda match: {"<": "&lt;", ">": "&gt;", "&": "&amp;"}.get(match[0], f"\\{match[0]}"),
        one_line(text),
    )


def markdown_code(text: str) -> str:
    """The text in Markdown between as many backticks as keep it together."""
    plain = one_line(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", plain)), default=0))
    room = " " if "`" in plain else ""
    return f"{fence}{room}{plain}{room}{fence}"


def _named(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]
