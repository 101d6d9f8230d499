"""The tables of the page: numbers as the text of cells."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from dashboards import headline
from dashboards.arms import Arms
from dashboards.tables import AXIS_HEADS, Cell, Table, axis_cells, num, numbers, table, words
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
)

MOST_ROWS = 1_000
MOST_FAILED = 100
_LONG_ERROR = 140


def curve_table(summary: dict[str, Any]) -> Table:
    """The essential-sparsity curve, a row per level."""
    rows = [
        (
            num(level(row.get("sparsity")), row.get("sparsity")),
            num(percent(row.get("val_accuracy")), row.get("val_accuracy")),
            num(interval(row.get("ci_low"), row.get("ci_high"))),
            num(points(row.get("drop")), row.get("drop")),
            num(points_interval(row.get("drop_low"), row.get("drop_high"))),
            num(amount(row.get("n")), row.get("n")),
        )
        for row in (summary.get("essential_sparsity") or {}).get("curve") or []
    ]
    heads = ("Sparsity", "Val. accuracy", "Interval", "Loss, points", "Its interval", "n")
    return table(heads, rows)


def detector_table(summary: dict[str, Any]) -> Table:
    """A row per detector: the essential sparsity that it finds."""
    essential = summary.get("essential_sparsity") or {}
    rows = [
        (
            Cell(clean(row.get("detector"), 100).replace("_", " ")),
            num(level(row.get("value")), row.get("value")),
            num(headline.sparsity_interval({**row, "curve": essential.get("curve")})),
        )
        for row in essential.get("detectors") or []
    ]
    return table(("Detector", "s*", "Interval"), rows)


def finetune_table(by_arm: dict[str, pd.DataFrame], summary: dict[str, Any]) -> Table:
    """The last epoch of each arm, and after how many epochs it came near dense."""
    arms, rows = Arms.of(summary), []
    entries = {str(a["arm"]): a for a in summary.get("arms") or []}
    for arm, epochs in by_arm.items():
        last = epochs.iloc[-1]
        entry = entries.get(arm, {})
        rows.append(
            (
                Cell(arms.short(arm), None, "arm"),
                *axis_cells(entry.get("setting") or {}),
                num(amount(last["n"]), last["n"]),
                num(percent(last["mean"]), last["mean"]),
                num(interval(last["ci_low"], last["ci_high"])),
                num(interval(last["low"], last["high"]) if last["n"] > 1 else DASH),
                num(_epochs(entry), entry.get("epochs_to_near_dense")),
            )
        )
    heads = ("Arm", *AXIS_HEADS, "Seeds", "Val. accuracy, last epoch", "Interval")
    return table((*heads, "Lowest to highest seed", "Epochs to near dense (seeds)"), rows)


def _epochs(entry: dict[str, Any]) -> str:
    """`2.5, 2 to 3 (2 of 3)`: mean and range of the seeds that got there, and their number."""
    reached, n = int(entry.get("near_dense_reached") or 0), int(entry.get("n") or 0)
    if not entry:
        return DASH
    if not reached:
        return f"not reached (0 of {n})"
    low, high = entry.get("epochs_lowest"), entry.get("epochs_highest")
    spread = f", {amount(low)} to {amount(high)}" if low != high else ""
    return f"{amount(entry.get('epochs_to_near_dense'))}{spread} ({reached} of {n})"


def fraction_table(fractions: pd.DataFrame) -> Table:
    """Mean accuracy per sparsity and mask data fraction, both stages side by side."""
    places: dict[Any, dict[str, Any]] = {}
    for row in fractions.to_dict("records"):
        sparsity = AUTO if row["sparsity"] == AUTO else number(row["sparsity"])
        places.setdefault((sparsity, row["fraction"]), {})[row["stage"]] = row
    rows = []
    for (sparsity, fraction), stages in places.items():
        pruned, final = stages.get("issp", {}), stages.get("final", {})
        rows.append(
            (
                num(level(sparsity), sparsity),
                num(level(fraction), fraction),
                num(percent(pruned.get("mean")), pruned.get("mean")),
                num(interval(pruned.get("ci_low"), pruned.get("ci_high"))),
                num(percent(final.get("mean")), final.get("mean")),
                num(interval(final.get("ci_low"), final.get("ci_high"))),
                num(amount((pruned or final).get("n")), (pruned or final).get("n")),
            )
        )
    heads = ("Sparsity", "Mask data", "After ISSP", "Interval", "After fine-tuning", "Its interval")
    return table((*heads, "Seeds"), rows)


def arms_table(summary: dict[str, Any]) -> Table:
    """Every arm at its best setting."""
    arms, rows = Arms.of(summary), []
    for entry in sorted(summary.get("arms") or [], key=lambda a: arms.rank(str(a["arm"]))):
        gap, whole = entry.get("difference_to_dense"), entry.get("test_accuracy_whole")
        speed, model = entry.get("images_per_s_ratio"), entry.get("sparsity_model_mean")
        rows.append(
            (
                Cell(arms.short(entry["arm"]), None, "arm"),
                *axis_cells(entry.get("setting") or {}),
                num(amount(entry.get("n")), entry.get("n")),
                num(percent(entry.get("test_accuracy_mean")), entry.get("test_accuracy_mean")),
                num(interval(entry.get("ci_low"), entry.get("ci_high"))),
                num(points(gap), gap),
                num(points_interval(entry.get("models_low"), entry.get("models_high"))),
                num(points_interval(entry.get("seeds_low"), entry.get("seeds_high"))),
                num(percent(whole), whole),
                num(percent(entry.get("sparsity_mean")), entry.get("sparsity_mean")),
                num(percent(model), model),
                num(ratio(entry.get("macs_ratio")), entry.get("macs_ratio")),
                num(ratio(entry.get("macs_ratio_kept")), entry.get("macs_ratio_kept")),
                num(ratio(speed), speed),
            )
        )
    heads = ("Arm", *AXIS_HEADS, "n", "Test accuracy", "Interval", "To dense, points")
    more = ("These models", "Other seeds", "On whole images", "Final sparsity")
    saved = ("Sparsity, whole model", "MACs", "MACs, kept patches", "Images/s, measured")
    return table((*heads, *more, *saved), rows)


def cost_tables(stages: pd.DataFrame, throughput: pd.DataFrame) -> tuple[Table, Table]:
    """Seconds per stage, and training images per second by patch drop."""
    seconds = [
        (
            Cell(clean(r["stage"])),
            num(duration(r["total_s"]), r["total_s"]),
            num(duration(r["median_s"]), r["median_s"]),
            num(amount(r["n"]), r["n"]),
        )
        for r in stages.to_dict("records")
    ]
    rates = [
        (
            num(level(r["patch_drop"]), r["patch_drop"]),
            num(amount(r["mean"]), r["mean"]),
            num(f"{amount(r['low'])} to {amount(r['high'])}"),
            num(amount(r["n"]), r["n"]),
        )
        for r in throughput.to_dict("records")
    ]
    return (
        table(("Stage", "Sum", "Median trial", "Trials"), seconds),
        table(("Patches dropped", "Images/s, mean", "Lowest to highest", "Trials"), rates),
    )


def page_order(trials: pd.DataFrame) -> pd.DataFrame:
    """At most MOST_ROWS trials: failed ones first, then the best by validation accuracy.

    If there are more trials than rows, failed ones take at most MOST_FAILED rows.
    """
    failed = (words(trials, "status") == "FAILED").to_numpy(dtype=bool)
    rest = trials[~failed]
    best = numbers(rest, "final/val_accuracy").sort_values(ascending=False, kind="stable")
    room = MOST_FAILED if len(trials) > MOST_ROWS else MOST_ROWS
    ordered = [trials[failed].iloc[:room], rest.loc[best.index]]
    return pd.concat(ordered).iloc[:MOST_ROWS]


def _error_cell(error: str) -> Cell:
    lines = [line for line in error.strip().splitlines() if line.strip()]
    # The last line of a traceback names the exception; the first says only "Traceback".
    message = lines[-1 if lines[0].startswith("Traceback") else 0].strip() if lines else ""
    short = clean(message, _LONG_ERROR)
    return Cell(short, None, "error", "" if short == error.strip() else error)


def _key_cell(key: str) -> Cell:
    text = clean(key, 100)
    return Cell(text[:12], None, "key", text if len(text) > 12 else "")


def failed_table(trials: pd.DataFrame) -> Table:
    """At most MOST_FAILED failed trials, with their errors."""
    failed = trials[(words(trials, "status") == "FAILED").to_numpy(dtype=bool)]
    columns = [words(failed.iloc[:MOST_FAILED], c) for c in ("name", "error", "key")]
    rows = [
        (Cell(clean(name, 400), None, "name"), _error_cell(clean(error, 4000)), _key_cell(key))
        for name, error, key in zip(*columns, strict=True)
    ]
    return table(("Trial", "Error", "Key"), rows)


def trials_table(trials: pd.DataFrame, lines: Mapping[str, int]) -> Table:
    """The trials on the page, in the order of `page_order`.

    Args:
        lines: key of a trial -> number of its line in a figure.
    """
    shown = page_order(trials.reset_index(drop=True))
    columns: list[list[Cell]] = []
    for name, kind in (("name", "name"), ("arm", ""), ("status", "status")):
        columns.append([Cell(clean(v, 400), None, kind) for v in words(shown, name)])
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
        columns.append([num(form(v), v) for v in numbers(shown, name)])
    columns.append([_key_cell(k) for k in words(shown, "key")])
    heads = ("Trial", "Arm", "Status", "One-shot level", "Patch drop", "Mask data", "Seed")
    measured = ("Val. accuracy", "Test accuracy", "Final sparsity", "Epochs to near dense")
    tail = ("Time", "Saved", "Key")
    found = table((*heads, *measured, *tail), list(zip(*columns, strict=True)))
    marks = tuple(lines.get(key, 0) for key in words(shown, "key"))
    return replace(found, lines=marks if any(marks) else ())
