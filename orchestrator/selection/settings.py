"""The settings of a sweep: all finished trials of one arm at one point, its seeds together.

A setting is a point of the sweep without its seed. Its accuracy is the *deployed* one, measured
under exactly the tokens that its multiply-accumulates count: kept patches where an arm drops
some, whole images else. What an old run has not measured stays unknown (`unmeasured`).
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orchestrator.selection.rows import (
    Row,
    average,
    axis_value,
    grouped,
    missing_column,
    plain,
    rows,
)
from trials.arms import BASE_AXES, NAMES

EQUAL_SPARSITY = 1e-6
"""Of the prunable weights: sparsities this near keep the same number of weights."""

VAL, TEST = "final/deployed_val_accuracy", "final/deployed_test_accuracy"
_IDENTITY = (
    "run_id", "key", "name", "arm", "status", "seed", "rung", "auto_sparsity",
    "patch_drop", "stage.dense", "stage.finetune", "stage.issp", "stage.control",
)  # fmt: skip
WHOLE = {
    f"final/deployed_{split}_{what}": f"final/{split}_{what}"
    for split in ("val", "test")
    for what in ("accuracy", "lost", "gained")
}
"""What was measured on the tokens that an arm uses -> the same on whole images."""

METRICS = (
    "dense/val_accuracy", "dense/val_n", "dense/test_accuracy", "dense/test_n",
    "issp/val_accuracy", "issp/val_lost", "issp/val_gained", "control/val_accuracy",
    "control/val_lost", "control/val_gained", *WHOLE, *WHOLE.values(),
    "final/test_accuracy_ticket", "final/sparsity", "final/sparsity_model", "final/macs",
    "final/macs_dense", "final/macs_selector", "final/macs_deployed", "final/macs_training",
    "final/epochs_to_near_dense", "finetune.epochs", "profile/images_per_s",
    "profile/images_per_s_dense",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Setting:
    """All finished trials of one arm at one point of the sweep.

    Attributes:
        axes: value per axis; None for an axis that the arm ignores.
        first: seed -> its first trial by key, ascending in the seed.
        seeds: METRICS, averaged per seed; mean: the same averaged over seeds.
    """

    arm: str
    axes: dict[str, Any]
    trials: tuple[Row, ...]
    first: Mapping[Any, Row]
    seeds: tuple[Row, ...]
    mean: Row

    @property
    def val_accuracy(self) -> float:
        """What settings are chosen by: deployed, or of whole images where an old run has no more.

        It orders settings and is never reported. Without any accuracy: below all others.
        """
        own = self.mean[VAL] if self.mean[VAL] is not None else self.mean["final/val_accuracy"]
        return -math.inf if own is None else float(own)

    @property
    def place(self) -> tuple[Any, ...]:
        """Equal for equal points of the sweep; hashable, sorts."""
        return (self.arm, *(comparable(v) for v in self.axes.values()))

    def by_seed(self) -> dict[Any, list[Row]]:
        """The trials of each seed, seeds and trials in a fixed order."""
        found: dict[Any, list[Row]] = {}
        for trial in sorted(self.trials, key=lambda r: (_order(r["seed"]), str(r["key"]))):
            if trial["seed"] is not None:
                found.setdefault(float(trial["seed"]), []).append(trial)
        return found

    def seeds_with(self, other: "Setting") -> list[Any]:
        """The seeds that both have, ascending."""
        return [seed for seed in self.first if seed in other.first]


def settings(results: pd.DataFrame, axes: Sequence[str] = ()) -> list[Setting]:
    """Finished trials with a final validation accuracy, grouped by arm and axes.

    Args:
        axes: columns that tell settings apart, beside BASE_AXES (`seed`, `arm` are ignored).

    Raises:
        ValueError: a needed column or axis is absent altogether.
    """
    names = axis_names(axes)
    table = rows(results, (*_IDENTITY, *names, *METRICS))
    finished = [r for r in table if r["status"] in (None, "FINISHED")]
    full = any(r["status"] == "FINISHED" and r["rung"] is None for r in finished)
    if full and "final/val_accuracy" not in results:
        raise missing_column(results, "final/val_accuracy", "a comparison of arms")
    finished = [with_deployed(r) for r in finished if r["final/val_accuracy"] is not None]
    if finished:
        for column in ("arm", *names[len(BASE_AXES) :]):
            if column not in results:
                raise missing_column(results, column, "a comparison of arms")
    arms = [r for r in finished if r["arm"] is not None]
    return [setting_of(group, names) for group in grouped(arms, lambda r: place_of(r, names))]


def with_deployed(row: Row) -> Row:
    """A row of before, completed where that needs no guess: without a drop, tokens are whole."""
    if row.get(VAL) is not None or drops_patches(row):
        return row
    known = {name: row.get(whole) for name, whole in WHOLE.items()}
    return (
        row
        | known
        | {
            "final/macs_selector": 0.0 if row.get("final/macs") is not None else None,
            "final/macs_deployed": row.get("final/macs"),
        }
    )


def drops_patches(row: Row) -> bool:
    """Whether the trial's model sees fewer patches than there are."""
    return bool(row.get("patch_drop"))


def unmeasured(found: Iterable[Setting]) -> int:
    """Trials that an older version has left without an accuracy on the patches that they keep."""
    return sum(trial[VAL] is None for s in found for trial in s.trials)


def axis_names(axes: Sequence[str]) -> tuple[str, ...]:
    """BASE_AXES, then the other axes once each."""
    return tuple(dict.fromkeys((*BASE_AXES, *(a for a in axes if a not in ("seed", "arm")))))


def best_settings(found: Sequence[Setting]) -> dict[str, Setting]:
    """Per arm the setting with the best mean validation accuracy, arms in the order of the table.

    Ties: more seeds, then the smaller axis values.
    """
    order = {arm: i for i, arm in enumerate(NAMES)}
    best: dict[str, Setting] = {}
    for s in sorted(found, key=lambda s: (order.get(s.arm, len(order)), s.arm, preference(s))):
        best.setdefault(s.arm, s)
    return best


def preference(s: Setting) -> tuple[Any, ...]:
    """Sort key: best validation accuracy, then more seeds, then smaller axis values."""
    return (-round(s.val_accuracy, 12), -len(s.seeds), *s.place[1:], s.arm)


def agree(a: Setting, b: Setting, ignored: str = "") -> bool:
    """Whether two settings have the same value on every axis that both use, but `ignored`."""
    return all(
        name == ignored or value is None or b.axes[name] is None or value == b.axes[name]
        for name, value in a.axes.items()
    )


def same_sparsity(a: float | None, b: float | None) -> bool:
    """Whether two final sparsities keep equally many weights; unknown ones may."""
    return a is None or b is None or abs(a - b) <= EQUAL_SPARSITY


def macs_ratio(row: Row) -> float | None:
    """Multiply-accumulates of a deployed image, choosing its patches included, over dense ones."""
    return _ratio(row["final/macs_deployed"], row["final/macs_dense"])


def kept_macs_ratio(row: Row) -> float | None:
    """The same without choosing the patches: of the pruned model alone."""
    return _ratio(row["final/macs"], row["final/macs_dense"])


def speed_ratio(row: Row) -> float | None:
    """Measured images per second of the model on the patches that it keeps, over dense ones.

    None where it keeps them all: that is the same forward pass, and the ratio would be noise.
    """
    if (kept_macs_ratio(row) or 0.0) >= 1 - 1e-9:
        return None
    return _ratio(row["profile/images_per_s"], row["profile/images_per_s_dense"])


def _ratio(own: float | None, dense: float | None) -> float | None:
    return own / dense if own is not None and dense else None


def comparable(value: Any) -> tuple[int, float, str]:
    """Sorts and hashes any axis value: None, then numbers, then the rest as text.

    Text that is a number is that number, because MLflow keeps params as text.
    """
    found = number_or_text(plain(value))
    if found is None:
        return 0, 0.0, ""
    return (2, 0.0, found) if isinstance(found, str) else (1, float(found), "")


def number_or_text(value: Any) -> Any:
    """`0.10` -> 0.1, `5` -> 5, `[]` -> none, other text as it is; lists and the like as JSON."""
    if value in ("[]", "()", [], ()):
        return "none"
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            as_float = float(value)
        except ValueError:
            return value
        if not math.isfinite(as_float):
            return str(value)
        return int(as_float) if as_float == int(as_float) else round(as_float, 9)
    if value is None or isinstance(value, bool):
        return value if value is None else str(value)
    return json.dumps(value, sort_keys=True, default=str)


def setting_of(group: list[Row], names: Sequence[str]) -> Setting:
    """Rows of one arm at one point as a setting; `names` are its axes."""
    first = group[0]
    seeds = [average(trials, METRICS) for trials in grouped(group, _seed)]
    ordered = sorted(group, key=lambda r: (_order(r["seed"]), str(r.get("key"))))
    by_seed = {float(r["seed"]): r for r in reversed(ordered) if r["seed"] is not None}
    return Setting(
        arm=str(first["arm"]),
        axes={name: axis_value(first, name) for name in names},
        trials=tuple(group),
        first=dict(sorted(by_seed.items())),
        seeds=tuple(seeds),
        mean=average(seeds, METRICS),
    )


def _seed(row: Row) -> tuple[str, Any]:
    for column in ("seed", "stage.dense"):
        if row.get(column) is not None:
            return column, row[column]
    return "row", id(row)


def _order(value: Any) -> float:
    return float("inf") if value is None else float(value)


def place_of(row: Row, names: Sequence[str]) -> tuple[Any, ...]:
    """Hashable place of a row in the sweep; floats apart by rounding only are one place."""
    return (row["arm"], *(comparable(axis_value(row, n)) for n in names))
