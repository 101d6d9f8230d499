"""Small tables that figures and sections are made from. Pure; a column may be missing."""

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from dashboards.text import AUTO, number

AXES = ("sparsity", "patch_drop", "mask_data_fraction")
ARM_ORDER = (
    "dense",
    "tickets",
    "essential",
    "issp",
    "lotus",
    "random_patches",
    "random_mask",
    "magnitude",
)


def numbers(frame: pd.DataFrame, name: str) -> "pd.Series[float]":
    """A column as floats (N,): NaN where it is missing or no number; inf becomes NaN."""
    if name not in frame.columns:
        return pd.Series(np.nan, index=frame.index, dtype=float)
    values = pd.to_numeric(frame[name], errors="coerce").astype(float)
    return values.replace([np.inf, -np.inf], np.nan)


def words(frame: pd.DataFrame, name: str) -> "pd.Series[str]":
    """A column as text (N,): the empty text where it is missing."""
    if name not in frame.columns:
        return pd.Series("", index=frame.index, dtype=object)
    return frame[name].astype(object).where(frame[name].notna(), "").map(str)


def arm_rank(arm: str) -> tuple[int, str]:
    """Sort key: the arms in the order of the paper, then the controls, then others."""
    return (ARM_ORDER.index(arm) if arm in ARM_ORDER else len(ARM_ORDER), arm)


def finished(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials that ended well; all of them where no status is given."""
    if "status" not in trials.columns:
        return trials
    return trials[words(trials, "status") == "FINISHED"]


def at_setting(trials: pd.DataFrame, arm: str, setting: dict[str, Any]) -> pd.DataFrame:
    """The finished trials of one arm at one setting; what is None in it is not asked for.

    Keys beside the three axes are other configuration columns, compared as text.
    """
    rows = finished(trials)
    return _having(rows[(words(rows, "arm") == arm).to_numpy(dtype=bool)], setting)


def _having(rows: pd.DataFrame, setting: dict[str, Any]) -> pd.DataFrame:
    keep = np.ones(len(rows), dtype=bool)
    for name, wanted in setting.items():
        if wanted is None:
            continue
        if name == "sparsity" and wanted == AUTO:
            keep = keep & (words(rows, "auto_sparsity") == "True").to_numpy(dtype=bool)
        elif (level := number(wanted)) is not None:
            keep = keep & np.isclose(numbers(rows, name).to_numpy(), level, rtol=0, atol=1e-9)
        else:
            keep = keep & (words(rows, name) == str(wanted)).to_numpy(dtype=bool)
    return rows[keep]


def best_settings(summary: dict[str, Any], trials: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Best setting per arm, arms in reading order: the summary's, else by mean validation."""
    found = {str(a["arm"]): dict(a.get("setting") or {}) for a in summary.get("arms") or []}
    rows = finished(trials)
    table = pd.DataFrame({axis: numbers(rows, axis) for axis in AXES})
    table["arm"], table["score"] = words(rows, "arm"), numbers(rows, "final/val_accuracy")
    table = table[table["score"].notna() & ~table["arm"].isin([*found, ""])]
    means = table.groupby(["arm", *AXES], dropna=False)["score"].mean().reset_index()
    best = means.sort_values("score", ascending=False, kind="stable").drop_duplicates("arm")
    for row in best.to_dict("records"):
        found[str(row["arm"])] = {axis: number(row[axis]) for axis in AXES}
    return {arm: found[arm] for arm in sorted(found, key=arm_rank)}


def with_interval(table: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Add ci_low and ci_high, mean ± t(n-1) * sd / sqrt(n), clipped to 0..1; NaN where n < 2.

    Args:
        table: with mean, sd (of a sample) and n, a row per group; sd is left out of the result.
        confidence: two-sided, in (0, 1).
    """
    n = table["n"].where(table["n"] >= 2)
    half = stats.t.ppf((1 + confidence) / 2, n - 1) * table["sd"] / np.sqrt(n)
    limits = {"ci_low": table["mean"] - half, "ci_high": table["mean"] + half}
    return table.drop(columns="sd").assign(**{k: v.clip(0, 1) for k, v in limits.items()})


def finetune_by_arm(
    curves: pd.DataFrame,
    trials: pd.DataFrame,
    settings: dict[str, dict[str, Any]],
    confidence: float = 0.95,
) -> dict[str, pd.DataFrame]:
    """Validation accuracy per epoch at the best setting of each arm, over seeds.

    Returns:
        arm -> frame with epoch (from 1), mean, low, high (lowest and highest seed), n, and
        ci_low, ci_high (`with_interval`). Arms without a curve are left out.
    """
    points = pd.DataFrame(
        {
            "key": words(curves, "key"),
            "epoch": numbers(curves, "epoch"),
            "accuracy": numbers(curves, "val_accuracy"),
        }
    ).dropna()
    result = {}
    for arm, setting in settings.items():
        keys = words(at_setting(trials, arm, setting), "key")
        chosen = points[points["key"].isin(keys)]
        if len(chosen):
            by_epoch = chosen.groupby("epoch")["accuracy"]
            spread = by_epoch.agg(mean="mean", low="min", high="max", sd="std", n="count")
            result[arm] = with_interval(spread.reset_index(), confidence)
    return result


def _fullest(rows: pd.DataFrame, others: dict[str, Any]) -> pd.DataFrame:
    """The trials of ISSP at the one combination of further axes with most data fractions."""
    rows = rows[words(rows, "arm").isin(["lotus", "issp"]).to_numpy(dtype=bool)]
    if rows.empty or not others:
        return rows
    texts = [words(rows, name).tolist() for name in others]
    place = pd.Series(list(zip(*texts, strict=True)), index=rows.index)
    spread = numbers(rows, "mask_data_fraction").groupby(place).nunique()
    recommended = set(place[_having(rows, others).index])
    best = max(sorted(spread.index), key=lambda p: (int(spread[p]), p in recommended))
    return rows[[p == best for p in place]]


def issp_by_fraction(
    trials: pd.DataFrame, recommended: dict[str, Any], confidence: float = 0.95
) -> pd.DataFrame:
    """Accuracy right after ISSP and after fine-tuning, by mask data fraction.

    One arm, one patch drop and one value of each further axis, so that only the fraction and the
    sparsity vary: the further axes and the arm with most fractions (on a tie the recommended
    ones, and LOTUS); the recommended patch drop if that arm ran it, else the one with most trials.

    Returns:
        arm, patch_drop (NaN: all patches), sparsity, fraction, stage (`issp` | `final`),
        mean, low, high (lowest and highest), ci_low, ci_high (`with_interval`), n: over seeds,
        each the mean of its trials; a trial without a seed is one of its own. Empty where
        nothing was run.
    """
    others = {k: v for k, v in (recommended.get("setting") or {}).items() if k not in AXES}
    rows = _fullest(finished(trials), others)
    table = pd.DataFrame({axis: numbers(rows, axis) for axis in AXES})
    table["arm"] = words(rows, "arm")
    alone = pd.Series(-1.0 - np.arange(len(rows)), index=rows.index)
    table["seed"] = numbers(rows, "seed").fillna(alone)
    table["issp"], table["final"] = (
        numbers(rows, f"{stage}/val_accuracy") for stage in ("issp", "final")
    )
    table["sparsity"] = table["sparsity"].fillna(numbers(rows, "issp/sparsity").round(3))
    table = table[table["arm"].isin(["lotus", "issp"]) & table["mask_data_fraction"].notna()]
    table = table[table["issp"].notna()]
    if table.empty:
        return pd.DataFrame()
    spread = table.groupby("arm")["mask_data_fraction"].nunique()
    arm = max(sorted(spread.index), key=lambda a: int(spread[a]))
    arm = "lotus" if spread.get("lotus") == spread[arm] else arm
    table = table[table["arm"] == arm]
    drops = table["patch_drop"].value_counts()
    wanted = number(recommended.get("patch_drop"))
    if len(drops):
        chosen = wanted if wanted in drops.index else min(drops[drops == drops.max()].index)
        table = table[table["patch_drop"] == chosen]
    place = ["arm", "patch_drop", "sparsity", "fraction"]
    long = table.rename(columns={"mask_data_fraction": "fraction"}).melt(
        [*place, "seed"], ["issp", "final"], "stage", "accuracy"
    )
    by_seed = long.groupby([*place, "stage", "seed"], dropna=False)["accuracy"]
    seeds = by_seed.agg(accuracy="mean").reset_index()
    groups = seeds.groupby([*place, "stage"], dropna=False)["accuracy"]
    found = groups.agg(mean="mean", low="min", high="max", sd="std", n="count").reset_index()
    return with_interval(found[found["n"] > 0].reset_index(drop=True), confidence)


def stage_seconds(trials: pd.DataFrame) -> pd.DataFrame:
    """Seconds per stage as recorded per trial: stage, total_s, median_s, n; dearest first."""
    rows = []
    for column in trials.columns:
        name = str(column)
        if name.startswith("time/") and name.endswith("_s") and name != "time/total_s":
            seconds = numbers(trials, name).dropna()
            if len(seconds):
                stage = name.removeprefix("time/").removesuffix("_s")
                rows.append((stage, float(seconds.sum()), float(seconds.median()), len(seconds)))
    table = pd.DataFrame(rows, columns=["stage", "total_s", "median_s", "n"])
    return table.sort_values(["total_s", "stage"], ascending=[False, True], ignore_index=True)


def throughput(trials: pd.DataFrame) -> pd.DataFrame:
    """Training images per second: patch_drop, mean, low, high (over trials), n.

    A trial without a patch drop trained on all patches: 0.
    """
    rows = finished(trials)
    table = pd.DataFrame(
        {
            "patch_drop": numbers(rows, "patch_drop").fillna(0.0),
            "rate": numbers(rows, "final/train_images_per_s"),
        }
    ).dropna()
    by_drop = table.groupby("patch_drop")["rate"]
    return by_drop.agg(mean="mean", low="min", high="max", n="count").reset_index()
