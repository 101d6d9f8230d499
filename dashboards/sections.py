"""The tables of the page: numbers turned into the text that stands in each cell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dashboards import headline, tables
from dashboards.text import (
    AUTO,
    DASH,
    amount,
    clean,
    duration,
    interval,
    level,
    number,
    percent,
    points,
    points_interval,
    ratio,
    short_arm_label,
)

MOST_ROWS = 500
MOST_FAILED = 100
_LONG_ERROR = 140


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its text, the number to sort by (None: by text), and how it is set."""

    text: str
    value: float | None = None
    kind: str = ""  # "num" | "name" | "key" | "status" | "error"
    more: str = ""  # the whole text, when `text` is only its start


@dataclass(frozen=True, slots=True)
class Table:
    """Column heads and rows of cells, all of one length."""

    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


_AXIS_HEADS = ("One-shot level", "Patch drop", "Mask data")


def _axis_cells(setting: dict[str, Any]) -> list[Cell]:
    """One cell per axis; a dash where the arm does not use it."""
    return [_num(level(setting.get(axis)), setting.get(axis)) for axis in tables.AXES]


def _num(text: str, value: Any = None) -> Cell:
    return Cell(text, number(value), "num")


def _table(heads: tuple[str, ...], rows: Sequence[tuple[Cell, ...]]) -> Table:
    """A table without the columns in which no row says anything."""
    full = [i for i in range(len(heads)) if any(row[i].text not in ("", DASH) for row in rows)]
    return Table(tuple(heads[i] for i in full), tuple(tuple(r[i] for i in full) for r in rows))


def curve_table(summary: dict[str, Any]) -> Table:
    """The essential-sparsity curve, a row per level."""
    rows = [
        (
            _num(level(row.get("sparsity")), row.get("sparsity")),
            _num(percent(row.get("val_accuracy")), row.get("val_accuracy")),
            _num(interval(row.get("ci_low"), row.get("ci_high"))),
            _num(points(row.get("drop")), row.get("drop")),
            _num(points_interval(row.get("drop_low"), row.get("drop_high"))),
            _num(amount(row.get("n")), row.get("n")),
        )
        for row in (summary.get("essential_sparsity") or {}).get("curve") or []
    ]
    heads = ("Sparsity", "Val. accuracy", "Interval", "Loss, points", "Its interval", "n")
    return _table(heads, rows)


def detector_table(summary: dict[str, Any]) -> Table:
    """What each detector reads off the curve, a row each."""
    found = summary.get("essential_sparsity") or {}
    rows = [
        (
            Cell(clean(row.get("detector"), 100).replace("_", " ")),
            _num(level(row.get("value")), row.get("value")),
            _num(headline.sparsity_interval({**row, "curve": found.get("curve")})),
        )
        for row in found.get("detectors") or []
    ]
    return _table(("Detector", "s*", "Interval"), rows)


def finetune_table(by_arm: dict[str, pd.DataFrame], summary: dict[str, Any]) -> Table:
    """The last epoch of each arm, and how soon it came near dense."""
    rows = []
    entries = {str(a["arm"]): a for a in summary.get("arms") or []}
    for arm, table in by_arm.items():
        last = table.iloc[-1]
        entry = entries.get(arm, {})
        rows.append(
            (
                Cell(short_arm_label(arm), None, "arm"),
                *_axis_cells(entry.get("setting") or {}),
                _num(amount(last["n"]), last["n"]),
                _num(percent(last["mean"]), last["mean"]),
                _num(interval(last["ci_low"], last["ci_high"])),
                _num(interval(last["low"], last["high"]) if last["n"] > 1 else DASH),
                _num(_epochs(entry), entry.get("epochs_to_near_dense")),
            )
        )
    heads = ("Arm", *_AXIS_HEADS, "Seeds", "Val. accuracy, last epoch", "Interval")
    return _table((*heads, "Lowest to highest seed", "Epochs to near dense (seeds)"), rows)


def _epochs(entry: dict[str, Any]) -> str:
    """`2.5, 2 to 3 (2 of 3)`: the mean and range of those that got there, and how many did."""
    reached, n = int(entry.get("near_dense_reached") or 0), int(entry.get("n") or 0)
    if not entry:
        return DASH
    if not reached:
        return f"not reached (0 of {n})"
    low, high = entry.get("epochs_lowest"), entry.get("epochs_highest")
    spread = f", {amount(low)} to {amount(high)}" if low != high else ""
    return f"{amount(entry.get('epochs_to_near_dense'))}{spread} ({reached} of {n})"


def fraction_table(table: pd.DataFrame) -> Table:
    """Mean accuracy per sparsity and mask data fraction, both stages side by side."""
    places: dict[Any, dict[str, Any]] = {}
    for row in table.to_dict("records"):
        sparsity = AUTO if row["sparsity"] == AUTO else number(row["sparsity"])
        places.setdefault((sparsity, row["fraction"]), {})[row["stage"]] = row
    rows = []
    for (sparsity, fraction), stages in places.items():
        pruned, final = stages.get("issp", {}), stages.get("final", {})
        rows.append(
            (
                _num(level(sparsity), sparsity),
                _num(level(fraction), fraction),
                _num(percent(pruned.get("mean")), pruned.get("mean")),
                _num(interval(pruned.get("ci_low"), pruned.get("ci_high"))),
                _num(percent(final.get("mean")), final.get("mean")),
                _num(interval(final.get("ci_low"), final.get("ci_high"))),
                _num(amount((pruned or final).get("n")), (pruned or final).get("n")),
            )
        )
    heads = ("Sparsity", "Mask data", "After ISSP", "Interval", "After fine-tuning", "Its interval")
    return _table((*heads, "Seeds"), rows)


def arms_table(summary: dict[str, Any]) -> Table:
    """Every arm at its best setting."""
    rows = []
    for entry in sorted(summary.get("arms") or [], key=lambda a: tables.arm_rank(str(a["arm"]))):
        gap, whole = entry.get("difference_to_dense"), entry.get("test_accuracy_whole")
        speed, model = entry.get("images_per_s_ratio"), entry.get("sparsity_model_mean")
        rows.append(
            (
                Cell(short_arm_label(entry["arm"]), None, "arm"),
                *_axis_cells(entry.get("setting") or {}),
                _num(amount(entry.get("n")), entry.get("n")),
                _num(percent(entry.get("test_accuracy_mean")), entry.get("test_accuracy_mean")),
                _num(interval(entry.get("ci_low"), entry.get("ci_high"))),
                _num(points(gap), gap),
                _num(points_interval(entry.get("models_low"), entry.get("models_high"))),
                _num(points_interval(entry.get("seeds_low"), entry.get("seeds_high"))),
                _num(percent(whole), whole),
                _num(percent(entry.get("sparsity_mean")), entry.get("sparsity_mean")),
                _num(percent(model), model),
                _num(ratio(entry.get("macs_ratio")), entry.get("macs_ratio")),
                _num(ratio(entry.get("macs_ratio_kept")), entry.get("macs_ratio_kept")),
                _num(ratio(speed), speed),
            )
        )
    heads = ("Arm", *_AXIS_HEADS, "n", "Test accuracy", "Interval", "To dense, points")
    more = ("These models", "Other seeds", "On whole images", "Final sparsity")
    saved = ("Sparsity, whole model", "MACs", "MACs, kept patches", "Images/s, measured")
    return _table((*heads, *more, *saved), rows)


def cost_tables(stages: pd.DataFrame, throughput: pd.DataFrame) -> tuple[Table, Table]:
    """Seconds per stage, and training images per second by patch drop."""
    seconds = [
        (
            Cell(clean(r["stage"])),
            _num(duration(r["total_s"]), r["total_s"]),
            _num(duration(r["median_s"]), r["median_s"]),
            _num(amount(r["n"]), r["n"]),
        )
        for r in stages.to_dict("records")
    ]
    rates = [
        (
            _num(level(r["patch_drop"]), r["patch_drop"]),
            _num(amount(r["mean"]), r["mean"]),
            _num(f"{amount(r['low'])} to {amount(r['high'])}"),
            _num(amount(r["n"]), r["n"]),
        )
        for r in throughput.to_dict("records")
    ]
    return (
        _table(("Stage", "Sum", "Median trial", "Trials"), seconds),
        _table(("Patches dropped", "Images/s, mean", "Lowest to highest", "Trials"), rates),
    )


def page_order(trials: pd.DataFrame) -> pd.DataFrame:
    """At most MOST_ROWS trials: failed ones first, then the best by validation accuracy.

    When rows are short, failed trials take MOST_FAILED of them, so that the best still show.
    """
    failed = (tables.words(trials, "status") == "FAILED").to_numpy(dtype=bool)
    rest = trials[~failed]
    best = tables.numbers(rest, "final/val_accuracy").sort_values(ascending=False, kind="stable")
    room = MOST_FAILED if len(trials) > MOST_ROWS else MOST_ROWS
    ordered = [trials[failed].iloc[:room], rest.loc[best.index]]
    return pd.concat(ordered).iloc[:MOST_ROWS]


def _error_cell(error: str) -> Cell:
    lines = [line for line in error.strip().splitlines() if line.strip()]
    # The last line of a traceback names the exception; the first says only "Traceback".
    said = lines[-1 if lines[0].startswith("Traceback") else 0].strip() if lines else ""
    short = clean(said, _LONG_ERROR)
    return Cell(short, None, "error", "" if short == error.strip() else error)


def _key_cell(key: str) -> Cell:
    text = clean(key, 100)
    return Cell(text[:12], None, "key", text if len(text) > 12 else "")


def failed_table(trials: pd.DataFrame) -> Table:
    """The trials that failed and why, MOST_FAILED at most."""
    failed = trials[(tables.words(trials, "status") == "FAILED").to_numpy(dtype=bool)]
    columns = [tables.words(failed.iloc[:MOST_FAILED], c) for c in ("name", "error", "key")]
    rows = [
        (Cell(clean(name, 400), None, "name"), _error_cell(clean(error, 4000)), _key_cell(key))
        for name, error, key in zip(*columns, strict=True)
    ]
    return _table(("Trial", "Error", "Key"), rows)


def trials_table(trials: pd.DataFrame) -> Table:
    """The trials that the page shows, in the page's order."""
    shown = page_order(trials.reset_index(drop=True))
    columns: list[list[Cell]] = []
    for name, kind in (("name", "name"), ("arm", ""), ("status", "status")):
        columns.append([Cell(clean(v, 400), None, kind) for v in tables.words(shown, name)])
    for name, form in (
        ("sparsity", level),
        ("patch_drop", level),
        ("mask_data_fraction", level),
        ("seed", amount),
        ("final/deployed_val_accuracy", percent),
        ("final/deployed_test_accuracy", percent),
        ("final/sparsity", percent),
        ("final/epochs_to_near_dense", amount),
        ("time/total_s", duration),
        ("cache/saved_s", duration),
    ):
        columns.append([_num(form(v), v) for v in tables.numbers(shown, name)])
    columns.append([_key_cell(k) for k in tables.words(shown, "key")])
    heads = ("Trial", "Arm", "Status", "One-shot level", "Patch drop", "Mask data", "Seed")
    measured = ("Val. accuracy", "Test accuracy", "Final sparsity", "Epochs to near dense")
    tail = ("Time", "Saved", "Key")
    return _table((*heads, *measured, *tail), list(zip(*columns, strict=True)))
