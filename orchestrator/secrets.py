"""Addresses without their passwords, for everything that is shown or stored."""

from urllib.parse import urlsplit, urlunsplit


def without_password(uri: str) -> str:
    """`postgresql://user:***@host/db`; an address without a password is unchanged."""
    parts = urlsplit(uri)
    if parts.password is None:
        return uri
    place = parts.netloc.rsplit("@", 1)[1]
    return urlunsplit(parts._replace(netloc=f"{parts.username}:***@{place}"))
