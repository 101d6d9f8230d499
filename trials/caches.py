"""Where this user's caches lie. Nothing but time may hang on what is there."""

import os
from pathlib import Path


def cache_of(name: str) -> Path | None:
    """Where one kind of thing is kept: `lotus-sweep/NAME` in XDG_CACHE_HOME, by default ~/.cache.

    None for a user without a home.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    return folder / "lotus-sweep" / name if folder.is_absolute() else None
