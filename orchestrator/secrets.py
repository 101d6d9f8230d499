"""Hiding passwords in text that is shown, logged or stored."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from urllib.parse import quote, urlsplit, urlunsplit

HIDDEN = "***"

SECRET_NAMES = ("*PASSWORD", "*_TOKEN", "*_SECRET*", "*_API_KEY", "*_ACCESS_KEY", "AWS_*KEY*")
"""Patterns of environment variables with secret values, in upper or lower case."""

SHORTEST = 4
"""Shorter values are no secrets: hiding them would only make holes in texts."""

WHOLE_WORD = 8
"""Shorter values are hidden only as whole words, not as parts of other words."""

_WORDS = frozenset({"true", "false", "none", "null"})  # HF_HUB_DISABLE_IMPLICIT_TOKEN=true
_ADDRESS = re.compile(
    r"(?i)(\b[a-z][a-z0-9+.-]*://[^\s/:'\"<>]*:)"
    r"(?!\d*[/?#])(?:[^\s/'\"<>]+|[^\s'\"<>]+)@"  # it may hold a slash; a port is none
)
_ARGUMENT = re.compile(
    r"(?i)((?<![a-z0-9_])(?:[a-z0-9_]*(?:password|passphrase)|passwd|pwd"
    r"|(?:access_|auth_|session_|id_)?token|[a-z0-9_]*secret(?:_access)?(?:_key)?"
    r"|aws_access_key_id|api_?key|signature|credential)"
    r"\s*=\s*)(?!\*\*\*)[^\s&;,'\"<>]+"
)


def without_password(uri: str) -> str:
    """`postgresql://user:***@host/db`; an address without a password is unchanged."""
    try:
        parts = urlsplit(uri)
    except ValueError:  # not an address, which is reported elsewhere
        return redacted(uri)
    if parts.password is not None:
        place = parts.netloc.rsplit("@", 1)[1]
        uri = urlunsplit(parts._replace(netloc=f"{parts.username}:{HIDDEN}@{place}"))
    return _ARGUMENT.sub(rf"\1{HIDDEN}", _ADDRESS.sub(rf"\1{HIDDEN}@", uri))


def redacted(text: str) -> str:
    """A text with its passwords hidden.

    These are passwords in addresses (`scheme://user:password@host`), values of arguments such as
    `password=...` and `token=...`, and, anywhere in the text, the values of this process's secret
    environment variables: plain, percent-encoded or in JSON's form.
    """
    return _redacted(text, _secrets(tuple(os.environ.items())))


def all_redacted(texts: Mapping[str, str]) -> dict[str, str]:
    """Each text `redacted`, reading the environment only once."""
    secrets = _secrets(tuple(os.environ.items()))
    return {name: _redacted(text, secrets) for name, text in texts.items()}


def _redacted(text: str, secrets: Sequence[str]) -> str:
    for value in secrets:
        text = _without(text, value)
    return _ARGUMENT.sub(rf"\1{HIDDEN}", _ADDRESS.sub(rf"\1{HIDDEN}@", text))


def looks_secret(variable: str) -> bool:
    """Whether a variable of this name may hold a secret; errs on the safe side."""
    parts = ("PASS", "TOKEN", "SECRET", "KEY", "CREDENTIAL", "COOKIE", "AUTH")
    return any(part in variable.upper() for part in parts)


@lru_cache(maxsize=4)
def _secrets(environment: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Values to hide, the longest first, because one may be part of another."""
    secrets: set[str] = set()
    for variable, value in environment:
        if not any(fnmatchcase(variable.upper(), pattern) for pattern in SECRET_NAMES):
            continue
        if len(value) >= SHORTEST and value.lower() not in _WORDS:
            secrets |= {value, quote(value), quote(value, safe=""), json.dumps(value)[1:-1]}
    return tuple(sorted(secrets, key=lambda value: (-len(value), value)))


def _without(text: str, value: str) -> str:
    if value not in text:
        return text
    if len(value) >= WHOLE_WORD:
        return text.replace(value, HIDDEN)
    return re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", HIDDEN, text)
