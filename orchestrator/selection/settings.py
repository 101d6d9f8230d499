"""The settings of a sweep: all finished trials of one arm at one point, with all seeds.

A setting is a point of the sweep without its seed. Its accuracy is the *deployed* one, measured on
exactly the tokens that its multiply-accumulates count: the kept patches if the arm drops some, else
whole images. What older versions did not measure stays unknown (`unmeasured`).
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.selection.rows import (
    Row,
    average,
    axis_value,
    grouped,
    missing_column,
    plain,
    rows,
)
from orchestrator.vocabulary import Metric, of
from trials.arms import BASE_AXES, SHOWN, shown_as

if TYPE_CHECKING:
    import pandas as pd

EQUAL_SPARSITY = 1e-6
"""Sparsities that differ by less, in prunable weights, keep the same number of weights."""

VAL, TEST = Metric.FINAL_DEPLOYED_VAL_ACCURACY, Metric.FINAL_DEPLOYED_TEST_ACCURACY
_IDENTITY = (
    "run_id", "key", "name", "arm", "status", "seed", "rung", "auto_sparsity", "reduction.method",
    "patch_drop", "stage.dense", "stage.finetune", "stage.issp", "stage.control",
)  # fmt: skip
WHOLE = {
    of("final", f"deployed_{split}_{what}"): of("final", f"{split}_{what}")
    for split in ("val", "test")
    for what in ("accuracy", "lost", "gained")
}
"""Metric on the tokens that an arm uses -> the same metric on whole images."""

METRICS = (
    Metric.DENSE_VAL_ACCURACY,
    Metric.DENSE_VAL_N,
    Metric.DENSE_TEST_ACCURACY,
    Metric.DENSE_TEST_N,
    Metric.ISSP_VAL_ACCURACY,
    Metric.ISSP_VAL_LOST,
    Metric.ISSP_VAL_GAINED,
    Metric.CONTROL_VAL_ACCURACY,
    Metric.CONTROL_VAL_LOST,
    Metric.CONTROL_VAL_GAINED,
    *WHOLE,
    *WHOLE.values(),
    Metric.FINAL_TEST_ACCURACY_TICKET,
    Metric.FINAL_DRAWN_TEST_ACCURACY,
    Metric.FINAL_SPARSITY,
    Metric.FINAL_SPARSITY_MODEL,
    Metric.FINAL_MACS,
    Metric.FINAL_MACS_DENSE,
    Metric.FINAL_MACS_SELECTOR,
    Metric.FINAL_MACS_DEPLOYED,
    Metric.FINAL_MACS_TRAINING,
    Metric.FINAL_EPOCHS_TO_NEAR_DENSE,
    "finetune.epochs",
    Metric.PROFILE_IMAGES_PER_S,
    Metric.PROFILE_IMAGES_PER_S_DENSE,
)


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
        """The accuracy for choosing settings: deployed, or on whole images in old runs without it.

        It orders settings and is never reported. A setting without any accuracy comes last.
        """
        accuracy = (
            self.mean[VAL] if self.mean[VAL] is not None else self.mean[Metric.FINAL_VAL_ACCURACY]
        )
        return -math.inf if accuracy is None else float(accuracy)

    @property
    def place(self) -> tuple[Any, ...]:
        """Equal for equal points of the sweep; hashable and sortable."""
        return (self.arm, *(comparable(v) for v in self.axes.values()))

    def by_seed(self) -> dict[Any, list[Row]]:
        """The trials of each seed, both in a fixed order."""
        trials: dict[Any, list[Row]] = {}
        for trial in sorted(self.trials, key=lambda r: (_order(r["seed"]), str(r["key"]))):
            if trial["seed"] is not None:
                trials.setdefault(float(trial["seed"]), []).append(trial)
        return trials

    def seeds_with(self, other: "Setting") -> list[Any]:
        """The seeds that both have, ascending."""
        return [seed for seed in self.first if seed in other.first]


def group_settings(results: "pd.DataFrame", axes: Sequence[str] = ()) -> list[Setting]:
    """Finished trials with a final validation accuracy, grouped by arm and axes.

    Args:
        axes: further columns that distinguish settings, beside BASE_AXES (`seed` and `arm` are
            ignored).

    Raises:
        ValueError: a needed column or axis is missing.
    """
    axis_columns = axis_names(axes)
    table = rows(results, (*_IDENTITY, *axis_columns, *METRICS))
    finished = [r for r in table if r["status"] in (None, "FINISHED")]
    full = any(r["status"] == "FINISHED" and r["rung"] is None for r in finished)
    if full and Metric.FINAL_VAL_ACCURACY not in results:
        raise missing_column(results, Metric.FINAL_VAL_ACCURACY, "a comparison of arms")
    finished = [with_deployed(r) for r in finished if r[Metric.FINAL_VAL_ACCURACY] is not None]
    if finished:
        for column in ("arm", *axis_columns[len(BASE_AXES) :]):
            if column not in results:
                raise missing_column(results, column, "a comparison of arms")
    arms = [
        r | {"arm": shown_as(r["arm"], r["reduction.method"])}
        for r in finished
        if r["arm"] is not None
    ]
    return [
        setting_of(group, axis_columns)
        for group in grouped(arms, lambda r: place_of(r, axis_columns))
    ]


def with_deployed(row: Row) -> Row:
    """A row of an old run with deployed metrics, if it drops no patches: they equal the whole's."""
    if row.get(VAL) is not None or drops_patches(row):
        return row
    deployed = {column: row.get(whole) for column, whole in WHOLE.items()}
    return (
        row
        | deployed
        | {
            Metric.FINAL_MACS_SELECTOR: 0.0 if row.get(Metric.FINAL_MACS) is not None else None,
            Metric.FINAL_MACS_DEPLOYED: row.get(Metric.FINAL_MACS),
        }
    )


def drops_patches(row: Row) -> bool:
    """Whether the trial's model does not see all patches."""
    return bool(row.get("patch_drop"))


def unmeasured(settings: Iterable[Setting]) -> int:
    """Number of trials of older versions without an accuracy on the kept patches."""
    return sum(trial[VAL] is None for s in settings for trial in s.trials)


def axis_names(axes: Sequence[str]) -> tuple[str, ...]:
    """BASE_AXES, then the other axes, without duplicates."""
    return tuple(dict.fromkeys((*BASE_AXES, *(a for a in axes if a not in ("seed", "arm")))))


def best_settings(settings: Sequence[Setting]) -> dict[str, Setting]:
    """Each arm's setting with the best mean validation accuracy, arms in the order of tables.

    Ties: more seeds, then the smaller axis values.
    """
    order = {name: i for i, (name, _, _) in enumerate(SHOWN)}
    best: dict[str, Setting] = {}
    for s in sorted(settings, key=lambda s: (order.get(s.arm, len(order)), s.arm, preference(s))):
        best.setdefault(s.arm, s)
    return best


def preference(s: Setting) -> tuple[Any, ...]:
    """Sort key: best validation accuracy, then more seeds, then smaller axis values."""
    return (-round(s.val_accuracy, 12), -len(s.seeds), *s.place[1:], s.arm)


def agree(a: Setting, b: Setting, ignored: str = "") -> bool:
    """Whether two settings have equal values on every axis that both use, except `ignored`."""
    return all(
        axis == ignored or value is None or b.axes[axis] is None or value == b.axes[axis]
        for axis, value in a.axes.items()
    )


def same_sparsity(a: float | None, b: float | None) -> bool:
    """Whether two sparsities keep the same number of weights; True if one is unknown."""
    return a is None or b is None or abs(a - b) <= EQUAL_SPARSITY


def macs_ratio(row: Row) -> float | None:
    """Deployed over dense multiply-accumulates of an image, including the choice of patches."""
    return _ratio(row[Metric.FINAL_MACS_DEPLOYED], row[Metric.FINAL_MACS_DENSE])


def kept_macs_ratio(row: Row) -> float | None:
    """The same without the choice of patches: of the pruned model alone."""
    return _ratio(row[Metric.FINAL_MACS], row[Metric.FINAL_MACS_DENSE])


def speed_ratio(row: Row) -> float | None:
    """Images per second on the kept patches over those of dense, as measured.

    None if all patches are kept: both are the same forward pass, and the ratio would be noise.
    """
    if (kept_macs_ratio(row) or 0.0) >= 1 - 1e-9:
        return None
    return _ratio(row[Metric.PROFILE_IMAGES_PER_S], row[Metric.PROFILE_IMAGES_PER_S_DENSE])


def _ratio(deployed: float | None, dense: float | None) -> float | None:
    return deployed / dense if deployed is not None and dense else None


def comparable(value: Any) -> tuple[int, float, str]:
    """A sortable and hashable form of any axis value: None, then numbers, then text.

    Text that is a number counts as the number, because MLflow keeps params as text.
    """
    scalar = number_or_text(plain(value))
    if scalar is None:
        return 0, 0.0, ""
    return (2, 0.0, scalar) if isinstance(scalar, str) else (1, float(scalar), "")


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


def setting_of(group: list[Row], axes: Sequence[str]) -> Setting:
    """Make a setting of the rows of one arm at one point."""
    first = group[0]
    seeds = [average(trials, METRICS) for trials in grouped(group, _seed)]
    ordered = sorted(group, key=lambda r: (_order(r["seed"]), str(r.get("key"))))
    by_seed = {float(r["seed"]): r for r in reversed(ordered) if r["seed"] is not None}
    return Setting(
        arm=str(first["arm"]),
        axes={axis: axis_value(first, axis) for axis in axes},
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


def place_of(row: Row, axes: Sequence[str]) -> tuple[Any, ...]:
    """Hashable place of a row in the sweep, whatever the rounding of floats."""
    return (row["arm"], *(comparable(axis_value(row, n)) for n in axes))
