"""What timm has said about models, kept on disk: whoever plans need not import it.

timm and torch take four seconds and 800 MB at every start, and a plan wants a handful of numbers
of them. An answer is a JSON file in the user's cache folder, `lotus-sweep/timm/`, named by the
question and by every file of the timm that is installed, as its installer has recorded them. So
an answer never outlives the timm that gave it, and two that are installed do not disturb each
other.

Only time hangs on these files. What is absent, damaged or cannot be written is asked again, and
a process that has imported timm asks it in any case: what stages compute never comes from here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from trials.caches import cache_of


def kept(question: Sequence[Any], ask: Callable[[], Any], lasting: Callable[[], bool]) -> Any:
    """The answer to a question: from disk, or asked and then kept.

    Args:
        question: plain JSON values; with any other the answer is not kept.
        ask: imports timm and gives plain JSON values. What it raises is not kept.
        lasting: whether the answer is timm's own, told after it was given: a model that the
            running program has registered may be another one the next time.
    """
    path, reads = _path(question), not _timm_is_here()
    if path is not None and reads:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return _read(path, question)
    answer = ask()
    if path is not None and (reads or not path.exists()) and lasting():
        with contextlib.suppress(OSError):
            _write(path, question, answer)
    return answer


def _timm_is_here() -> bool:
    return "timm" in sys.modules


def _path(question: Sequence[Any]) -> Path | None:
    """Where the answer lies; None when it cannot be kept."""
    folder, timm = cache_of("timm"), installed("timm")
    if folder is None or timm is None:
        return None
    try:
        name = _digest([timm, question])
    except (TypeError, ValueError):
        return None
    return folder / f"{name}.json"


@cache
def installed(package: str) -> str | None:
    """An installed package by its content; None where no list of its files with digests tells it.

    One that is installed for editing may change at any time.
    """
    try:
        record = metadata.distribution(package).read_text("RECORD")
    except metadata.PackageNotFoundError:
        return None
    listed = record is not None and f"{package}/__init__.py,sha256=" in record
    return _digest(record) if listed else None


def _digest(value: Any) -> str:
    return hashlib.sha256(_text(value).encode()).hexdigest()


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)


def _read(path: Path, question: Sequence[Any]) -> Any:
    """An answer.

    Raises:
        OSError, ValueError, KeyError, TypeError: there is none, or it is damaged.
    """
    found = json.loads(path.read_text("utf-8"))
    if found["sha256"] != _digest([question, found["answer"]]):
        raise ValueError(f"{path} is damaged")
    return found["answer"]


def _write(path: Path, question: Sequence[Any], answer: Any) -> None:
    """Write an answer under another name first, so that nobody reads half of one."""
    found = {"question": question, "answer": answer, "sha256": _digest([question, answer])}
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(_text(found))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
