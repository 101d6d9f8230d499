"""Numbers as text: percent, points, times. None and NaN become a dash."""

import math
import re
from typing import Any

DASH = "–"

AUTO = "auto"
"""A sparsity that each trial finds for itself."""
_NEGATIVE = re.compile(r"(?<![\w.)-])-(?=\d)")
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# The same as in orchestrator/visible.py, except tab and newline. It must not be imported here; a
# test compares them.
_CONTROL = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f"  # control characters
    "\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069"  # turn what follows around
    "\\u2028\\u2029\\ufeff\\ud800-\\udfff]"  # line ends of some programs; halves of characters
)


def number(value: Any) -> float | None:
    """A finite float, or None for everything else (None, NaN, other text)."""
    try:
        as_float = float(value)
    except (TypeError, ValueError):
        return None
    return as_float if math.isfinite(as_float) else None


def signed(value: float, digits: int) -> str:
    """`+1.2`, `−0.3`, and `0.0` without a sign for what rounds to zero."""
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else "−") + text


def percent(value: Any, digits: int = 1) -> str:
    """A fraction as percent: 0.973 -> `97.3 %`."""
    x = number(value)
    return DASH if x is None else f"{100 * x:.{digits}f}\u00a0%".replace("-", "−")


def level(value: Any) -> str:
    """A setting as percent, without needless digits: 0.3 -> `30 %`, 0.125 -> `12.5 %`, `auto`."""
    x = number(value)
    if value == AUTO:
        return AUTO
    return DASH if x is None else f"{round(100 * x, 1):g}\u00a0%"


def points(value: Any) -> str:
    """A difference of fractions in percentage points: -0.004 -> `−0.4`."""
    x = number(value)
    return DASH if x is None else signed(100 * x, 1)


def tolerance_points(value: Any) -> str:
    """A tolerated loss: 0.01 -> `1 point`, 0.005 -> `0.5 points`, unknown -> a dash."""
    x = number(value)
    if x is None:
        return DASH
    size = f"{100 * x:.3g}"
    return f"{size} point{'' if size == '1' else 's'}"


def interval(low: Any, high: Any) -> str:
    """`96.1 to 97.9 %`, or a dash when an end is unknown."""
    a, b = number(low), number(high)
    if a is None or b is None:
        return DASH
    digits = _digits(a, b)
    return f"{100 * a:.{digits}f} to {100 * b:.{digits}f}\u00a0%"


def points_interval(low: Any, high: Any) -> str:
    """`−0.9 to +0.1`, or a dash when an end is unknown.

    An end that is not 0 is not written as 0: `−0.02 to +1.33`.
    """
    a, b = number(low), number(high)
    if a is None or b is None:
        return DASH
    hidden = any(0.00005 <= abs(end) < 0.0005 for end in (a, b))
    digits = max(_digits(a, b), 2 if hidden else 1)
    return f"{signed(100 * a, digits)} to {signed(100 * b, digits)}"


def _digits(low: float, high: float) -> int:
    """The number of digits, one to four, with which two percentages differ."""
    return next((d for d in (1, 2, 3) if round(100 * low, d) != round(100 * high, d)), 4)


def ratio(value: Any) -> str:
    """`0.90×`."""
    x = number(value)
    return DASH if x is None else f"{x:.2f}×"


def duration(seconds: Any) -> str:
    """Seconds in a suitable unit: `0.8 s`, `14 min`, `3.2 h`."""
    x = number(seconds)
    if x is None:
        return DASH
    unit, size = time_unit(x)
    digits = 0 if x / size >= 10 or x == 0 else 1
    return f"{x / size:,.{digits}f}\u00a0{unit}"


def time_unit(seconds: float) -> tuple[str, float]:
    """A suitable unit for a time, and its length in seconds."""
    return ("s", 1.0) if seconds < 90 else ("min", 60.0) if seconds < 5400 else ("h", 3600.0)


def amount(value: Any) -> str:
    """A count or a rate: `3`, `2.5`, `12,400`."""
    x = number(value)
    if x is None:
        return DASH
    if x == round(x) or abs(x) >= 100:
        return f"{x:,.0f}"
    return f"{x:,.1f}"


def plural(count: int, word: str) -> str:
    """`1 trial`, `3 trials`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def sentence(value: Any, limit: int = 2000) -> str:
    """A sentence of the summary for the page, which writes a minus as such."""
    return _NEGATIVE.sub("−", clean(value, limit))


def clean(value: Any, limit: int = 2000) -> str:
    """Text for a page: no terminal colours, no control characters, at most `limit` long.

    None and NaN become the empty text.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    text = _CONTROL.sub("\ufffd", _ANSI.sub("", str(value).replace("\r\n", "\n")))
    return text if len(text) <= limit else text[:limit] + " …"
