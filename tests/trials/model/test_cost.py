import pytest
from hypothesis import given
from hypothesis import strategies as st

from trials.model import cost
from trials.model.capability import Capability, capability_of
from trials.tokens import tickets

SMALL = capability_of("vit_small_patch16_224", {"num_classes": 10})
BASE = capability_of("vit_base_patch16_224", {"num_classes": 10})
KWARGS = {"img_size": 4, "patch_size": 2, "in_chans": 1, "embed_dim": 8, "depth": 1, "num_heads": 2}
TINY = capability_of("vit_tiny_patch16_224", KWARGS)


@pytest.mark.parametrize(("model", "giga"), [(SMALL, 4.60), (BASE, 17.56)], ids=["S", "B"])
def test_dense_macs_are_the_published_ones(model: Capability, giga: float) -> None:
    assert cost.forward_macs(model) / 1e9 == pytest.approx(giga, abs=0.06)


@pytest.mark.parametrize(("keep", "share"), [(0.9, 0.90), (0.7, 0.69), (0.5, 0.49)])
def test_dropping_patches_at_the_input_saves_what_methods_says(keep: float, share: float) -> None:
    kept = tickets.keep_count(SMALL.patches, 1 - keep)
    assert cost.forward_macs(SMALL, kept) / cost.forward_macs(SMALL) == pytest.approx(
        share, abs=0.01
    )


def test_a_tenth_of_the_patches_saves_at_most_a_ninth() -> None:
    assert 1 < cost.forward_macs(SMALL) / cost.forward_macs(SMALL, 177) < 1.115


@given(st.integers(1, 195))
def test_macs_grow_with_the_kept_patches(kept: int) -> None:
    assert cost.forward_macs(SMALL, kept) < cost.forward_macs(SMALL, kept + 1)


def test_all_patches_kept_cost_as_much_as_the_dense_model() -> None:
    assert cost.forward_macs(SMALL, 196) == cost.forward_macs(SMALL)


def test_one_block_is_counted_by_the_formula() -> None:
    n, d = 5, 8
    assert cost.forward_macs(TINY) == 12 * n * d * d + 2 * n * n * d + 4 * 4 * d


def test_training_costs_three_forward_passes_an_image() -> None:
    assert cost.training_macs(SMALL, 10, 100) == 30 * cost.forward_macs(SMALL, 100)


def test_the_total_of_a_training_is_counted_by_hand() -> None:
    # Dense: 5 tokens, 12 * 5 * 64 + 2 * 25 * 8 + 4 * 4 * 8 = 3840 + 400 + 128 = 4368. Two of four
    # patches: 3 tokens, 2304 + 144 + 128 = 2576. Three: 4 tokens, 3072 + 256 + 128 = 3456.
    kept = cost.mean_forward_macs(TINY, [2, 3, 3, 2])
    assert kept == (2576 + 3456) / 2 == 3016
    passes = cost.Passes(trained=10, trained_kept=4, looked_at=100)
    assert cost.total_macs(passes, TINY, kept) == 3 * (10 * 4368 + 4 * 3016) + 100 * 4368 == 604_032
    assert cost.total_macs(cost.Passes(), TINY, kept) == 0
