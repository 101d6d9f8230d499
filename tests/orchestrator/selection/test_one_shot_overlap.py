"""Masks of ISP beside one-shot masks: which are paired, and shares by hand."""

from typing import Any

import pytest
import torch

from orchestrator.selection.one_shot_overlap import MOST_PAIRS, couples, measured
from orchestrator.selection.overlap import Mask
from orchestrator.selection.settings import group_settings
from tests.orchestrator.selection.made_systems import AXES, masked, system, table
from tests.orchestrator.selection.test_systems import found
from trials import formats


def runs(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"run_id": f"run-{i}"} for i, row in enumerate(rows)]


def paired(rows: list[dict[str, Any]]) -> list[Any]:
    trials = table(runs(rows))
    return couples(trials, group_settings(trials, AXES))


def packed(*kept: int) -> Mask:
    keep = torch.zeros(20, dtype=torch.bool)
    keep[list(kept)] = True
    return Mask.of({"x": (formats.pack(keep).numpy(), keep.numel())})


def test_a_mask_is_paired_with_one_shot_of_its_sparsity_and_dense_model() -> None:
    lth = masked("issp", 0.0, 0.5, issp_preset="lth")
    pairs = paired([*lth, *masked("magnitude", 0.0, 0.5), *masked("magnitude", 0.0, 0.7)])
    assert [(c.system, c.preset, c.sparsity, c.runs) for c in pairs] == [
        ("Lottery tickets (LTH)", "lth", 0.5, (f"run-{i}", f"run-{i + 3}")) for i in range(3)
    ]


def test_masks_of_other_dense_models_or_on_fewer_patches_are_not_paired() -> None:
    lth = masked("issp", 0.0, 0.5, issp_preset="lth")
    other = [row | {"stage.dense": "another"} for row in masked("magnitude", 0.0, 0.5)]
    dropped = masked("magnitude", 0.0, 0.5, patch_drop=0.2)
    assert paired([*lth, *other]) == []
    assert paired([*lth, *dropped]) == []


def test_few_pairs_are_read_however_many_there_are() -> None:
    seeds = tuple(range(MOST_PAIRS))
    rows = masked("magnitude", 0.0, 0.5, seeds=seeds)
    for preset in ("lth", "progressive"):
        rows += masked("issp", 0.0, 0.5, issp_preset=preset, seeds=seeds)
    pairs = paired(rows)
    assert len(pairs) == MOST_PAIRS
    assert {c.preset for c in pairs} == {"lth", "progressive"}, "the systems in turn"


def test_shares_by_hand() -> None:
    lth = masked("issp", 0.0, 0.5, issp_preset="lth", seeds=(0,))
    pairs = paired([*lth, *masked("magnitude", 0.0, 0.5, seeds=(0,))])
    masks = {"run-0": packed(0, 1, 2, 3), "run-1": packed(1, 2, 3, 4)}
    (row,) = measured(pairs, masks)
    assert row["jaccard"] == pytest.approx(3 / 5)
    assert row["shared"] == pytest.approx(3 / 4), "3 of 4 kept weights"
    assert row["n_pairs"] == 1
    assert measured(pairs, {"run-0": packed(0)}) == [], "a mask that was not read"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.985, 0.99, "reproduced"),
        (0.97, 0.99, "undecided"),
        (0.90, 0.98, "not reproduced"),
    ],
)
def test_the_claim_about_masks_is_read_off_their_cosine(
    low: float, high: float, verdict: str
) -> None:
    row = {"preset": "lth", "sparsity": 0.5, "n_pairs": 3, "shared": (low + high) / 2,
           "shared_lowest": low, "shared_highest": high}  # fmt: skip
    rows = system("tickets", 0.0, patch_drop=0.1) + masked("magnitude", 0.0, 0.5)
    said = {c["id"]: c for c in found(rows, overlap={"one_shot": [row]})["claims"]}
    assert said["es_lottery_masks"]["verdict"] == verdict
    assert "cosine" in said["es_lottery_masks"]["ours"]
    far = found(rows, overlap={"one_shot": [row | {"sparsity": 0.8}]})["claims"]
    assert {c["id"]: c for c in far}["es_lottery_masks"]["verdict"] == "not measured"
