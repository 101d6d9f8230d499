"""The data of a report, without passwords and in JSON's types."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd

# The same as in orchestrator/secrets.py, which must not be imported here; a test compares them.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture of example tickets: a grid of images with the dropped patches marked.

    Attributes:
        title: name of the trial it comes from.
        patch_drop: fraction of the patches removed, 0..1.
        png: the bytes of a PNG file.
    """

    title: str
    patch_drop: float
    png: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """Everything that a report shows; fractions are 0..1.

    Attributes:
        summary: the content of summary.json, and `finetuning` (arm -> rows by epoch).
        trials: one row per trial; columns are the tracked params and metrics
            (`arm`, `status`, `sparsity`, `final/test_accuracy`, ...). Any may be
            missing or NaN.
        pictures: any number of ticket examples.
        gallery: contents of `tickets/gallery.json`, one for each patch drop; see `gallery`.
        sweep_yaml: the resolved sweep file.
        facts: about the report and its sweep, label -> text.
        command: shell command that makes the report again.
        live: whether the sweep runs and the report will be written again.
    """

    summary: dict[str, Any]
    trials: pd.DataFrame
    pictures: tuple[Picture, ...]
    sweep_yaml: str
    facts: dict[str, str]
    command: str = ""
    live: bool = False
    gallery: tuple[dict[str, Any], ...] = ()


def hide_password(text: str) -> str:
    """`postgresql://me:secret@host` -> `postgresql://me:***@host`; other text is unchanged.

    Also hides the values of arguments such as `password=` and `token=`.
    """
    if "://" not in text and "=" not in text:
        return text
    return _ARGUMENT.sub(r"\1***", _ADDRESS.sub(r"\1***@", text))


def without_passwords(data: ReportData) -> ReportData:
    """Hide passwords in all text: a report is passed on, and tracking addresses contain them."""
    trials = data.trials.reset_index(drop=True)
    for column in trials.columns[trials.dtypes.map(lambda d: not pd.api.types.is_numeric_dtype(d))]:
        trials[column] = trials[column].map(hidden)
    return replace(
        data,
        summary=hidden(data.summary),
        trials=trials,
        pictures=tuple(replace(p, title=hide_password(p.title)) for p in data.pictures),
        gallery=tuple(hidden(data.gallery)),
        command=hide_password(data.command),
        sweep_yaml=hide_password(data.sweep_yaml),
        facts={label: hide_password(str(text)) for label, text in data.facts.items()},
    )


def hidden(value: Any) -> Any:
    """The same value, without passwords in its texts."""
    if isinstance(value, str):
        return hide_password(value)
    if isinstance(value, Mapping):
        return {key: hidden(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [hidden(item) for item in value]
    return value


def plain(value: Any, place: str = "summary") -> Any:
    """Turn a value into strict JSON: NaN and infinities -> None, numpy -> Python.

    Args:
        value: dicts, lists, tuples, arrays, scalars, text, paths, times; nested.
        place: path of the value, for the error message.

    Raises:
        TypeError: something in it has no JSON form; the message says where.
    """
    if isinstance(value, Mapping):
        return {str(k): plain(v, f"{place}.{k}") for k, v in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()  # of a scalar: the Python number
    if isinstance(value, list | tuple):
        return [plain(v, f"{place}.{i}") for i, v in enumerate(value)]
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, PurePath | date):
        return str(value)
    raise TypeError(f"{place}: {type(value).__name__} cannot be written as JSON")
