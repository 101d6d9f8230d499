"""Overlap of masks: by hand, against the mask algebra, and which masks are read."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from orchestrator.selection import overlap
from orchestrator.selection.rows import rows
from trials import formats, masks
from trials.errors import FormatError
from trials.masks import KeepMask

SHAPES = {"blocks.0.attn.qkv.weight": (5, 7), "blocks.0.mlp.fc1.weight": (11, 3)}


def random_mask(seed: int, density: float = 0.4) -> KeepMask:
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.rand(shape, generator=draw) < density for name, shape in SHAPES.items()}


def packed(mask: KeepMask) -> overlap.Mask:
    bits = {name: (formats.pack(keep).numpy(), keep.numel()) for name, keep in mask.items()}
    return overlap.Mask.of(bits)


def table(*trials: dict[str, Any]) -> pd.DataFrame:
    """Trials of `lotus`, each with a mask of its own unless `stage.issp` says otherwise."""
    usual = {"arm": "lotus", "status": "FINISHED", "seed": 0, "sparsity": 0.3, "patch_drop": 0.1,
             "mask_data_fraction": 0.1}  # fmt: skip
    made = [
        usual | {"key": f"k{i}", "run_id": f"r{i}", "stage.issp": f"m{i}"} | t
        for i, t in enumerate(trials)
    ]
    return pd.DataFrame(made)


def grid(seeds: int, fractions: tuple[float, ...], levels: tuple[float, ...]) -> pd.DataFrame:
    return table(
        *(
            {"seed": s, "mask_data_fraction": f, "sparsity": level}
            for s, f, level in itertools.product(range(seeds), fractions, levels)
        )
    )


def test_packed_bits_count_what_the_mask_algebra_counts() -> None:
    for a, b in itertools.combinations([random_mask(s, 0.2 + 0.2 * s) for s in range(4)], 2):
        found = overlap.overlap(packed(a), packed(b))
        assert found is not None
        assert found.jaccard == masks.jaccard(a, b)
        for name, (jaccard, _) in found.layers.items():
            assert jaccard == masks.jaccard({name: a[name]}, {name: b[name]})


def test_by_hand_two_masks_that_share_one_of_three() -> None:
    a, b = (
        {"x": torch.tensor(v)} for v in ([True, True, False, False], [False, True, True, False])
    )
    found = overlap.overlap(packed(a), packed(b))
    assert found is not None
    assert found.jaccard == 1 / 3
    assert found.random == 0.25 / 0.75, "densities 1/2 and 1/2"
    assert found.layers["x"] == (1 / 3, 0.25 / 0.75)


def test_a_mask_overlaps_itself_wholly_and_an_empty_layer_counts_as_equal() -> None:
    mask = {"x": torch.zeros(9, dtype=torch.bool), "y": torch.ones(3, dtype=torch.bool)}
    found = overlap.overlap(packed(mask), packed(mask))
    assert found is not None
    assert found.jaccard == 1
    assert found.layers == {"x": (1, 1), "y": (1, 1)}


def test_independent_random_masks_have_the_overlap_that_is_said_of_them() -> None:
    rng = np.random.default_rng(0)
    a, b = ({"x": torch.from_numpy(rng.random(400_000) < d)} for d in (0.3, 0.7))
    found = overlap.overlap(packed(a), packed(b))
    assert found is not None
    assert found.random == pytest.approx(0.21 / 0.79, abs=0.002)
    assert found.jaccard == pytest.approx(found.random, abs=0.003)


def test_masks_of_different_models_have_no_overlap() -> None:
    a = packed(random_mask(0))
    other = overlap.Mask.of({"x": a.bits["blocks.0.attn.qkv.weight"]})
    assert overlap.overlap(a, other) is None


def test_bits_behind_the_last_weight_count_for_nothing(tmp_path: Path) -> None:
    header = {"format": formats.MASK_FORMAT, "shapes": '{"x": [3, 3]}'}
    bits = torch.tensor([0b10000001, 0b11111110], dtype=torch.uint8)
    save_file({"x": bits}, tmp_path / "m.safetensors", metadata=header)
    (found, count) = formats.load_packed_mask(tmp_path / "m.safetensors")["x"]
    assert (found.tolist(), count) == ([0b10000001, 0], 9)
    save_file({"x": bits[:1]}, tmp_path / "n.safetensors", metadata=header)
    with pytest.raises(FormatError, match="cannot hold"):
        formats.load_packed_mask(tmp_path / "n.safetensors")


def test_a_packed_file_reads_as_it_was_packed(tmp_path: Path) -> None:
    mask = random_mask(0)
    formats.save_mask(mask, tmp_path / "m.safetensors")
    found = formats.load_packed_mask(tmp_path / "m.safetensors")
    for name, (bits, count) in found.items():
        assert count == mask[name].numel()
        np.testing.assert_array_equal(bits, formats.pack(mask[name]).numpy())
        assert int(np.bitwise_count(bits).sum()) == int(mask[name].sum())


def test_masks_are_paired_where_one_thing_alone_differs() -> None:
    trials = grid(2, (0.1, 1.0), (0.3, 0.5))
    families = overlap.mask_families(trials, ())
    assert {name: len(found) for name, found in families.items()} == {
        "seed": 4, "fraction": 4, "level": 4,
    }  # fmt: skip
    row = {r["run_id"]: r for r in rows(trials, trials.columns)}
    for name, axis in overlap.VARIED.items():
        for family in families[name]:
            (_, a), (_, b) = family
            differing = [x for x in overlap.VARIED.values() if row[a][x] != row[b][x]]
            assert differing == [axis]


def test_trials_that_share_a_mask_count_once_and_other_axes_are_held_equal() -> None:
    same = [{"seed": s, "patch_drop": q, "stage.issp": f"m{s}"} for s in (0, 1) for q in (0.0, 0.1)]
    assert overlap.mask_families(table(*same), ())["seed"] == [[(0.0, "r0"), (1.0, "r2")]]
    other = table({"seed": 0, "issp.merge": "union_kept"}, {"seed": 1, "issp.merge": "vote_topk"})
    assert overlap.mask_families(other, ["issp.merge"])["seed"] == []
    assert len(overlap.mask_families(other, [])["seed"]) == 1


def test_controls_and_unfinished_trials_have_no_mask_to_compare() -> None:
    trials = table({"seed": 0}, {"seed": 1, "status": "FAILED"}, {"seed": 2, "arm": "magnitude"})
    assert overlap.chosen_runs(overlap.mask_families(trials, ())) == []


def test_few_masks_are_read_however_large_the_sweep_and_always_the_same_ones() -> None:
    large = grid(40, (0.1, 0.2, 0.3, 0.5, 1.0), tuple(i / 100 for i in range(50)))
    assert len(large) == 10_000
    chosen = overlap.chosen_runs(overlap.mask_families(large, ()))
    assert len(chosen) == len(set(chosen)) == overlap.MOST_MASKS
    shuffled = large.sample(frac=1, random_state=0)
    again = overlap.chosen_runs(overlap.mask_families(shuffled, ()))
    assert sorted(again) == sorted(chosen)


def test_groups_count_pairs_and_masks_and_layers_average_them() -> None:
    trials = grid(3, (0.1, 1.0), (0.3,)).assign(**{"denoise/jaccard_mean": 0.8})
    content = {f"r{i}": packed(random_mask(i)) for i in range(6)}
    found = overlap.summarised(trials, overlap.mask_families(trials, ()), content)
    seed, fraction, ingredients = found["groups"]
    assert (seed["varies"], seed["n_pairs"], seed["n_masks"]) == ("seed", 6, 6)
    assert (fraction["varies"], fraction["n_pairs"], fraction["between"]) == ("fraction", 3, None)
    pairs = [overlap.overlap(content[f"r{2 * s}"], content[f"r{2 * s + 1}"]) for s in range(3)]
    values = [p.jaccard for p in pairs if p]
    assert fraction["mean"] == pytest.approx(np.mean(values))
    assert (fraction["lowest"], fraction["highest"]) == (min(values), max(values))
    first = found["layers"][0]
    layers = [p.layers[first["layer"]][0] for p in pairs if p]
    assert first["fraction"] == pytest.approx(np.mean(layers))
    assert first["level"] is None
    assert (ingredients["varies"], ingredients["n_masks"], ingredients["mean"]) == (
        "ingredients", 6, pytest.approx(0.8),
    )  # fmt: skip


def test_several_pairs_of_values_are_told_apart() -> None:
    trials = grid(1, (0.1, 0.3, 1.0), (0.3,))
    content = {f"r{i}": packed(random_mask(i)) for i in range(3)}
    groups = overlap.summarised(trials, overlap.mask_families(trials, ()), content)["groups"]
    assert [g["between"] for g in groups] == [None, [0.1, 0.3], [0.1, 1.0], [0.3, 1.0]]


def test_without_masks_there_is_nothing_to_say() -> None:
    empty = pd.DataFrame()
    assert overlap.summarised(empty, overlap.mask_families(empty, ()), {}) == {
        "groups": [], "layers": [],
    }  # fmt: skip
