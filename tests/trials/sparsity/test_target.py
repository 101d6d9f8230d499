from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils import prune

from trials.errors import StageInputError
from trials.sparsity import masks
from trials.sparsity.masks import KeepMask
from trials.sparsity.target import (
    RoundConfig,
    absolute_sparsity,
    goal_count,
    ingredient_count,
    rounds_to_target,
    stopped,
    target_count,
)

TOTAL = 1000
LEVEL = st.floats(0.0, 0.95)
ROUNDS = st.integers(1, 12)
SCHEDULE = st.sampled_from(["geometric", "cubic", "remaining", "linear"])


def mask(level: float, total: int = TOTAL) -> KeepMask:
    keep = torch.zeros(total, dtype=torch.bool)
    keep[: masks.keep_count(total, level)] = True
    return {"w": keep}


def counts(first: KeepMask, **settings: Any) -> list[int]:
    """The count of every round, each from the mask that the one before left."""
    cfg = RoundConfig.model_validate(settings)
    parent, found = first, []
    for number in range(1, cfg.rounds + 1):
        found.append(target_count(cfg.model_copy(update={"round": number}), first, parent))
        parent = masks.top_k({"w": torch.arange(TOTAL, 0, -1).float()}, found[-1])
    return found


@given(LEVEL, st.floats(0.01, 0.99), ROUNDS, SCHEDULE)
def test_a_relative_target_is_of_what_the_first_mask_left(
    s1: float, r: float, rounds: int, schedule: str
) -> None:
    first = mask(s1)
    found = counts(
        first, target_sparsity=r, sparsity_reference="relative", rounds=rounds, schedule=schedule
    )
    assert abs(found[-1] - masks.kept(first) * (1 - r)) <= 1, "1 - S = (1 - s1)(1 - r), one weight"


@given(LEVEL, st.floats(0.01, 0.99), ROUNDS, SCHEDULE)
def test_rounds_descend_from_the_first_mask_and_end_exactly_at_the_target(
    s1: float, target: float, rounds: int, schedule: str
) -> None:
    low, high = sorted((s1, target))
    high = max(high, 0.01)
    first = mask(low)
    found = counts(first, target_sparsity=high, rounds=rounds, schedule=schedule)
    assert found == sorted(found, reverse=True)
    assert masks.kept(first) >= found[0]
    assert found[-1] == TOTAL - round(high * TOTAL)


def test_geometric_rounds_remove_the_same_share_of_what_remains() -> None:
    assert counts(mask(0.0), target_sparsity=0.875, rounds=3) == [500, 250, 125]


def test_cubic_rounds_prune_early() -> None:
    assert counts(mask(0.0), target_sparsity=0.8, rounds=2, schedule="cubic") == [300, 200]


def test_remaining_rounds_take_their_fraction_until_the_target_stops_them() -> None:
    ways = {"target_sparsity": 0.5, "schedule": "remaining", "round_fraction": 0.2}
    assert counts(mask(0.0), rounds=2, **ways) == [800, 500], "the last round jumps"
    assert counts(mask(0.0), rounds=5, **ways) == [800, 640, 512, 500, 500], "never beyond"
    assert counts(mask(0.0), rounds=2, last_hits_target=False, **ways) == [800, 640]
    assert counts(mask(0.0), rounds=4, last_hits_target=False, **ways)[-1] == 500


def test_relative_levels_compose_as_torch_prunes_a_pruned_module() -> None:
    """30 % and then 30 % of the rest is 51 %; 50 % of the rest is 65 %."""
    first = mask(0.3)
    for level, whole in ((0.3, 0.51), (0.5, 0.65)):
        cfg = RoundConfig(target_sparsity=level, sparsity_reference="relative", levels=(level,))
        assert absolute_sparsity(cfg, first, level) == pytest.approx(whole)
        assert goal_count(cfg, first) == TOTAL - round(whole * TOTAL)
        assert ingredient_count(cfg, first, first, 0) == TOTAL - round(whole * TOTAL)


def test_the_relative_counts_are_those_of_torchs_own_pruning() -> None:
    layer = torch.nn.Linear(100, 10)
    for level in (0.3, 0.3):
        prune.global_unstructured(  # type: ignore[no-untyped-call]
            [(layer, "weight")], prune.L1Unstructured, amount=level
        )
    cfg = RoundConfig(target_sparsity=0.3, sparsity_reference="relative")
    assert int((layer.weight != 0).sum()) == goal_count(cfg, mask(0.3))


@given(LEVEL, st.lists(st.floats(0.01, 0.99), min_size=1, max_size=5), st.booleans())
def test_levels_take_turns_and_never_ask_for_more_than_the_parent_keeps(
    s1: float, levels: list[float], relative: bool
) -> None:
    first = mask(s1)
    reference = "relative" if relative else "absolute"
    cfg = RoundConfig.model_validate({"levels": levels, "sparsity_reference": reference})
    found = [ingredient_count(cfg, first, first, n) for n in range(2 * len(levels))]
    assert found[: len(levels)] == found[len(levels) :]
    for count, level in zip(found, levels, strict=False):
        wanted = TOTAL - round(absolute_sparsity(cfg, first, level) * TOTAL)
        assert count == min(wanted, masks.kept(first))
        assert not relative or count == wanted, "a relative level always leaves something"


def test_levels_are_those_of_one_round() -> None:
    cfg = RoundConfig(levels=(0.5,), rounds=2)
    with pytest.raises(StageInputError, match=r"issp\.rounds = 2 with issp\.levels.*rounds: 1"):
        ingredient_count(cfg, mask(0.3), mask(0.3), 0)


def test_a_target_below_the_first_mask_is_refused_with_both_ways_out() -> None:
    first = mask(0.5)
    with pytest.raises(StageInputError, match=r"raise the target .*sparsity_reference: relative"):
        target_count(RoundConfig(target_sparsity=0.3), first, first)
    assert target_count(RoundConfig(target_sparsity=0.5), first, first) == 500


def test_a_round_stops_at_exactly_the_distance_that_is_asked_for() -> None:
    cfg = RoundConfig(target_sparsity=0.5, stop_within=0.05)
    assert stopped(cfg, mask(0.3), mask(0.45))
    assert stopped(cfg, mask(0.3), mask(0.6)), "beyond the target there is nothing to prune"
    assert not stopped(cfg, mask(0.3), mask(0.449))
    never = RoundConfig(target_sparsity=0.5)
    assert not stopped(never, mask(0.5), mask(0.5))


def test_linear_rounds_remove_equally_many_of_all_weights() -> None:
    settings = {"schedule": "linear", "round_fraction": 0.15, "rounds": 4, "target_sparsity": 0.5}
    assert counts(mask(0.0), **settings) == [850, 700, 550, 500]


@given(LEVEL, st.floats(0.01, 0.95), st.floats(0.02, 0.9), st.sampled_from(["remaining", "linear"]))
def test_as_many_rounds_as_are_counted_reach_the_target_and_one_fewer_does_not(
    s1: float, target: float, fraction: float, schedule: str
) -> None:
    rounds = rounds_to_target(schedule, fraction, s1, target)
    reached = s1
    for number in range(rounds):
        assert reached < target or number == rounds - 1
        step = fraction * (1 - reached) if schedule == "remaining" else fraction
        reached += step
    assert reached >= target - 1e-6
    assert (rounds == 0) == (target <= s1)


def test_a_relative_target_needs_as_many_rounds_from_any_first_mask() -> None:
    assert [rounds_to_target("remaining", 0.15, s1, 0.8, True) for s1 in (0.0, 0.3, 0.6)] == [
        10
    ] * 3
    assert rounds_to_target("linear", 0.1, 0.5, 0.8, True) == 4, "from 0.5 to 0.9"
