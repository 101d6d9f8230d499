"""Columns of the table of trials, and the order of arms. Pure; a column may be missing."""

import numpy as np
import pandas as pd

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
