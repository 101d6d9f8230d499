"""What a report is made from, and how it is made safe to write down."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd

# As orchestrator/secrets.py has them, which must not be imported here; a test compares both.
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
    """A ticket example picture: a grid of images with the dropped patches shown.

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
    """Everything that a report shows. Fractions are 0..1 throughout.

    Attributes:
        summary: the content of summary.json, with `finetuning` (arm -> rows by epoch) beside it.
        trials: one row per trial; columns are the tracked params and metrics
            (`arm`, `status`, `sparsity`, `final/test_accuracy`, ...). Any may be
            missing or NaN.
        pictures: ticket examples, any number.
        sweep_yaml: the resolved sweep file.
        facts: how the report came about, label -> text.
        command: what makes the report again, as it can be pasted into a shell.
    """

    summary: dict[str, Any]
    trials: pd.DataFrame
    pictures: tuple[Picture, ...]
    sweep_yaml: str
    facts: dict[str, str]
    command: str = ""


def hide_password(text: str) -> str:
    """`postgresql://me:secret@host` -> `postgresql://me:***@host`; other text as it is.

    Also the values of arguments such as `password=` and `token=`.
    """
    if "://" not in text and "=" not in text:
        return text
    return _ARGUMENT.sub(r"\1***", _ADDRESS.sub(r"\1***@", text))


def without_passwords(data: ReportData) -> ReportData:
    """Hide passwords in all text: a report is passed on, a tracking address holds one."""
    trials = data.trials.reset_index(drop=True)
    for name in trials.columns[trials.dtypes.map(lambda d: not pd.api.types.is_numeric_dtype(d))]:
        trials[name] = trials[name].map(_hidden)
    return replace(
        data,
        summary=_hidden(data.summary),
        trials=trials,
        pictures=tuple(replace(p, title=hide_password(p.title)) for p in data.pictures),
        command=hide_password(data.command),
        sweep_yaml=hide_password(data.sweep_yaml),
        facts={label: hide_password(str(text)) for label, text in data.facts.items()},
    )


def _hidden(value: Any) -> Any:
    """The same value; texts in it without passwords."""
    if isinstance(value, str):
        return hide_password(value)
    if isinstance(value, Mapping):
        return {name: _hidden(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(one) for one in value]
    return value


def plain(value: Any, place: str = "summary") -> Any:
    """Turn a value into strict JSON: NaN and infinities -> None, numpy -> Python.

    Args:
        value: dicts, lists, tuples, arrays, scalars, text, paths, times; nested.
        place: where the value stands, for the error message.

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
