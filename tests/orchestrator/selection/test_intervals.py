"""No interval wider than half of what can be, and none of zero width, is a number anywhere."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from orchestrator.selection import summarise
from trials.arms import NAMES

Bits = NDArray[np.bool_]
EPOCHS = 9
ARM_LEVELS = {"essential": (0.1, 0.3, 0.6), "lotus": (0.3, 0.6), "issp": (0.3,)}
ENDS = re.compile(r"([+-]?\d+(?:\.\d+)?)( %)? to ([+-]?\d+(?:\.\d+)?)( %)?")


class Sweep:
    """A sweep of every arm, of which each number comes from images that are right or wrong."""

    def __init__(self, seeds: int, images: int, apart: float) -> None:
        self.rng = np.random.default_rng([seeds, images, int(100 * apart)])
        self.images, self.apart = images, apart
        self.outcomes: dict[str, dict[str, Bits]] = {}
        self.rows: list[dict[str, Any]] = []
        for seed in range(seeds):
            dense = {split: self.rng.random(images) < 0.9 for split in ("val", "test")}
            for arm in NAMES:
                for level in ARM_LEVELS.get(arm, (None,)):
                    merges = (
                        ("vote_topk", "majority") if (arm, level) == ("lotus", 0.3) else (None,)
                    )
                    for merge in merges:
                        self.rows.append(self._trial(arm, level, merge, seed, dense))

    def _trial(
        self, arm: str, level: float | None, merge: str | None, seed: int, dense: dict[str, Bits]
    ) -> dict[str, Any]:
        key = f"{arm}-{level}-{merge}-{seed}"
        drop = None if arm in ("dense", "essential", "issp") else 0.1
        row: dict[str, Any] = {
            "key": key, "name": key, "run_id": key, "arm": arm, "seed": seed, "status": "FINISHED",
            "sparsity": level, "patch_drop": drop, "mask_data_fraction": level and 0.1,
            "issp.merge": merge, "issp.preset": "default", "finetune.epochs": str(EPOCHS),
            "stage.dense": f"dense-{seed}", "final/sparsity": 0.5, "issp/sparsity": 0.5,
            "control/sparsity": 0.5, "final/macs": 80.0, "final/macs_selector": 5.0,
            "final/macs_deployed": 85.0, "final/macs_dense": 100.0, "error": None,
            "final/epochs_to_near_dense": float(self.rng.integers(1, EPOCHS + 1)),
        }  # fmt: skip
        self.outcomes[key] = {"dense.test": dense["test"], "dense.validation": dense["val"]}
        for split, right in dense.items():
            row |= {f"dense/{split}_accuracy": float(right.mean()), f"dense/{split}_n": self.images}
            for prefix in ("final/", "final/deployed_"):
                row |= self._measured(key, prefix, split, right)
        row |= self._measured(key, "issp/", "val", dense["val"]) if level else {}
        row |= self._measured(key, "control/", "val", dense["val"]) if "m" in arm[:7] else {}
        if level:
            row |= self._measured(key, "essential/", "val", dense["val"])
            row |= {"stage.essential": f"{level}-{seed}"}
        return row

    def _measured(self, key: str, prefix: str, split: str, dense: Bits) -> dict[str, Any]:
        """Another model: right where dense is, but for a share of the images."""
        own = dense ^ (self.rng.random(self.images) < self.apart)
        kind = {"val": "validation", "test": "test"}[split]
        name = "deployed" if "deployed" in prefix else prefix.rstrip("/")
        self.outcomes[key][f"{name}.{kind}"] = own
        return {
            f"{prefix}{split}_accuracy": float(own.mean()),
            f"{prefix}{split}_lost": int((dense & ~own).sum()),
            f"{prefix}{split}_gained": int((~dense & own).sum()),
        }

    def summary(self, by_image: bool) -> dict[str, Any]:
        return summarise(
            pd.DataFrame(self.rows), sweep="s", planned=len(self.rows), device="cpu",
            device_hours=0.0, device_hours_saved=0.0, wall_s=None, axes=["issp.merge"],
            outcomes=self.outcomes if by_image else None,
        )  # fmt: skip


def intervals(value: Any, where: str = "") -> Iterator[tuple[str, float | None, float | None]]:
    """Every pair of limits in a summary: where it stands, low, high."""
    if isinstance(value, dict):
        for name, low in value.items():
            extremes = name == "low" and "ci_low" in value  # of the seeds, not of an interval
            if (name == "low" or name.endswith("_low")) and not extremes:
                yield f"{where}.{name}", low, value[name.removesuffix("low") + "high"]
        for name, one in value.items():
            yield from intervals(one, f"{where}.{name}")
    elif isinstance(value, list):
        for one in value:
            yield from intervals(one, where)


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from texts(one)


def most(where: str) -> float:
    """Half of what a value can be."""
    if "epochs" in where:
        return EPOCHS / 2
    accuracy = where.endswith(".ci_low") and ".claims" not in where
    if accuracy or "test_ci" in where or where.startswith(".essential_sparsity.low"):
        return 0.5
    return 0.5 if ".detectors" in where else 1.0


def check(summary: dict[str, Any]) -> tuple[int, int]:
    """How many limits are stated, and how many left out."""
    stated = left_out = 0
    for where, low, high in intervals(summary):
        if where.startswith(".essential_sparsity") and "curve" not in where and high is None:
            assert low is None or low > 0, f"{where}: {low} and more says nothing"
            continue
        assert (low is None) == (high is None), where
        if low is None or high is None:
            left_out += 1
            continue
        assert 0 < high - low <= most(where) + 1e-12, f"{where}: {low} to {high}"
        stated += 1
    for text in texts(summary):
        for low_text, percent, high_text, _ in ENDS.findall(text):
            assert low_text != high_text, text
            if percent or "." in low_text:
                assert float(high_text) - float(low_text) <= (50 if percent else 100), text
    return stated, left_out


@pytest.mark.slow
@pytest.mark.parametrize("images", [1, 5, 60, 3000])
@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_what_says_nothing_is_no_number_in_the_summary(seeds: int, images: int) -> None:
    for apart in (0.0, 0.1, 0.6):
        sweep = Sweep(seeds, images, apart)
        for by_image in (False, True):
            summary = sweep.summary(by_image)
            stated, left_out = check(summary)
            assert {c["family"] for c in summary["comparisons"]} == {
                "against_dense", "against_controls", "after_pruning",
            }  # fmt: skip
            assert summary["diagnosis"]["suspects"], "its limits are walked too"
            assert {c["verdict"] for c in summary["claims"]} != {"not measured"}
            assert stated >= (50 if images == 3000 else 0)
            assert left_out >= (50 if images == 1 else 0)


def test_equal_models_on_many_images_do_not_read_as_zero_to_zero() -> None:
    summary = Sweep(3, 30_000, 0.0).summary(by_image=True)
    stated, _ = check(summary)
    assert stated > 50
    words = " ".join(texts(summary))
    assert "-0.01 to +0.01" in words, "as many digits as tell the ends apart"


def test_a_walk_finds_what_it_must_refuse() -> None:
    for bad in (
        {"x_low": -0.6, "x_high": 0.6},
        {"a": [{"low": 0.1, "high": 0.1}]},
        {"essential_sparsity": {"low": 0.1, "high": 0.7}},
        {"essential_sparsity": {"low": 0.0, "high": None}},
        {"dense": {"test_ci_low": 0.2, "test_ci_high": 0.8}},
        {"said": "interval -0.0 to -0.0"},
        {"said": ["it is 20.0 % to 90.0 % of them"]},
        {"said": "interval -70.1 to +80.2"},
    ):
        with pytest.raises(AssertionError):
            check(bad)
