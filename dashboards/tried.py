"""The settings that a sweep tried: how figures name their axes, and which arm they show."""

from collections import Counter
from typing import Any

from dashboards.arms import Arms
from dashboards.tables import AXES
from dashboards.text import clean, level, number

NAMES = dict(zip(AXES, ("One-shot level", "Patches dropped", "Data for the masks"), strict=True))
_LETTERS = dict(zip(AXES, "sdf", strict=True))

Row = dict[str, Any]


def rows(summary: Row) -> list[Row]:
    """The entry `tried` of a summary: settings with an accuracy, the best first."""
    return [row for row in summary.get("tried") or [] if number(row.get("mean")) is not None]


def of_one_arm(summary: Row) -> list[Row]:
    """The settings of the arm with most settings, without controls; the earlier one on a tie."""
    arms = Arms.of(summary)
    found: dict[str, list[Row]] = {}
    for row in rows(summary):
        if not arms.is_control(row["arm"]):
            found.setdefault(str(row["arm"]), []).append(row)
    return max((found[arm] for arm in sorted(found, key=arms.rank)), key=len, default=[])


def values(settings: list[Row], axis: str) -> list[Any]:
    """The different values of an axis: numbers in their order, then text; None is left out."""
    found = {row["setting"].get(axis) for row in settings} - {None}
    return sorted(found, key=lambda v: (number(v) is None, number(v) or 0.0, str(v)))


def varied(settings: list[Row]) -> list[str]:
    """The axes with more than one value, those of LOTUS first."""
    axes = dict.fromkeys(axis for row in settings for axis in row["setting"])
    ordered = [*(a for a in AXES if a in axes), *(a for a in axes if a not in AXES)]
    return [axis for axis in ordered if len(values(settings, axis)) > 1]


def telling(settings: list[Row], axes: list[str], most: int) -> list[str]:
    """At most so many of the axes, in their order: those in which most settings differ."""

    def differ(axis: str) -> int:
        found = [row["setting"].get(axis) for row in settings]
        return len(found) - max(Counter(found).values(), default=0)

    chosen = sorted(axes, key=differ, reverse=True)[:most]
    return [axis for axis in axes if axis in chosen]


def axis_name(axis: str) -> str:
    """An axis in words; one of a user's own keeps its key."""
    return NAMES.get(axis) or clean(axis, 40)


def value_text(axis: str, value: Any) -> str:
    """`30 %` for an axis of LOTUS, the plain value for others."""
    return level(value) if axis in NAMES else clean(value, 40)


def words(setting: Row) -> str:
    """`one-shot level 30 %, patches dropped 10 %`: the axes that a setting has."""
    return ", ".join(
        f"{axis_name(axis).lower() if axis in NAMES else axis_name(axis)} {value_text(axis, value)}"
        for axis, value in setting.items()
        if value is not None
    )


def tight(setting: Row) -> str:
    """`s30 d10 f10`: the axes of LOTUS that a setting has, in percent, where room is scarce."""
    known = ((letter, number(setting.get(axis))) for axis, letter in _LETTERS.items())
    return " ".join(f"{letter}{round(100 * x, 1):g}" for letter, x in known if x is not None)


def short(setting: Row) -> str:
    """`s 30 %, d 10 %, f 10 %`: the axes that a setting has."""
    return ", ".join(
        f"{_LETTERS.get(axis) or clean(axis, 30)} {value_text(axis, value)}"
        for axis, value in setting.items()
        if value is not None
    )
