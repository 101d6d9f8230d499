import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trials.context import Context, Outcomes
from trials.data.datasets import Dataset
from trials.sparsity import masks
from trials.sparsity.detect import first_violation
from trials.stages.dense import Dense
from trials.stages.essential import OneShot, OneShotConfig, PickConfig, Probe, essential, pick
from trials.stages.probe import Point, ProbeConfig, count_probes, hidden, next_level, probe

COARSE = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
FULL = [k / 100 for k in range(1, 51)]


N = 10_000


def point(level: float, drop: float, images: Tensor | None = None) -> Point:
    """A measured level; without images given, of a curve along which none comes back."""
    nested = torch.arange(N) >= round(max(0.0, drop) * N)
    return Point(level, drop, nested if images is None else images)


def bracket(
    levels: Sequence[float], drop: Callable[[float], float], tolerance: float
) -> tuple[float, float | None]:
    low = first_violation(levels, [drop(s) for s in levels], tolerance)
    return low, next((s for s in levels if s > low), None)


def refine(
    drop: Callable[[float], float],
    tolerance: float,
    width: float,
    coarse: Sequence[float] = COARSE,
    images: Callable[[float], Tensor | None] = lambda s: None,
) -> list[float]:
    """All levels that the coarse curve and its probes evaluate."""
    levels = [0.0, *sorted(coarse)]
    for left in range(count_probes(coarse, width), 0, -1):
        points = [point(s, drop(s), images(s)) for s in levels]
        new = next_level(points, tolerance, width, left)
        levels = sorted([*levels, *([] if new is None else [new])])
    return levels[1:]


@given(
    st.floats(0, 0.6), st.floats(0.01, 5), st.integers(1, 4), st.sampled_from([0.005, 0.01, 0.1])
)
def test_on_a_rising_curve_refinement_reaches_the_full_grids_bracket_at_half_the_cost(
    begin: float, slope: float, power: int, tolerance: float
) -> None:
    def drop(s: float) -> float:
        return slope * max(0.0, s - begin) ** power

    levels = refine(drop, tolerance, 0.01)
    assert bracket(levels, drop, tolerance) == bracket(FULL, drop, tolerance)
    assert set(levels) <= set(FULL)
    assert len(levels) <= len(FULL) / 2


@given(
    st.lists(st.integers(1, 90), min_size=1, max_size=8, unique=True),
    st.floats(0.003, 0.3),
    st.floats(0, 1),
)
def test_the_number_of_probes_is_enough_for_any_break_and_any_levels(
    levels: list[int], width: float, crossing: float
) -> None:
    coarse = sorted(level / 100 for level in levels)
    found = refine(lambda s: float(s > crossing), 0.5, width, coarse)
    low, high = bracket(found, lambda s: float(s > crossing), 0.5)
    assert low <= crossing
    assert high is None or high - low <= width + 1e-6
    assert len(found) <= len(coarse) + count_probes(coarse, width)


def test_a_narrow_or_open_bracket_needs_no_probe() -> None:
    def ask(drops: tuple[float, float], tolerance: float, width: float) -> float | None:
        points = [point(0.0, 0.0), point(0.1, drops[0]), point(0.2, drops[1])]
        return next_level(points, tolerance, width, left=10)

    assert count_probes((0.1, 0.2), 0.1) == 0
    assert ask((0.0, 0.5), 0.01, 0.1) is None
    assert ask((0.0, 0.0), 0.01, 0.001) is None
    assert ask((0.5, 0.5), 0.01, 0.01) == 0.05


def test_an_early_violation_between_two_good_levels_is_found_where_images_come_and_go() -> None:
    def drop(s: float) -> float:
        return 0.02 if s > 0.45 or 0.13 <= s < 0.19 else 0.008

    def images(s: float) -> Tensor:
        """Other images are right at every level: between levels anything may have happened."""
        return torch.rand(500, generator=torch.Generator().manual_seed(round(1000 * s))) > 0.3

    noisy = refine(drop, 0.01, 0.01, images=images)
    assert bracket(noisy, drop, 0.01) == bracket(FULL, drop, 0.01) == (0.12, 0.13)
    assert len(noisy) <= len(FULL) / 2
    nested = refine(drop, 0.01, 0.01)
    assert bracket(nested, drop, 0.01) == (0.45, 0.46), "no image came back: nothing to look for"


def test_a_gap_is_left_alone_when_too_few_probes_are_left_to_bisect_what_it_hides() -> None:
    doubtful = [Point(s, 0.009, torch.arange(100) % 2 == i) for i, s in enumerate((0.0, 0.1))]
    assert next_level(doubtful, 0.01, 0.01, left=4) == 0.05
    assert next_level(doubtful, 0.01, 0.01, left=3) is None


def test_the_probability_that_a_gap_hides_a_violation_is_that_of_a_random_walk() -> None:
    draw = torch.Generator().manual_seed(0)
    steps, walks, images, flips = 400, 4000, 10_000, 900
    a, b, tolerance = 0.002, 0.004, 0.006
    scale = flips**0.5 / images
    walk = torch.randn(walks, steps, generator=draw).cumsum(1) * scale / steps**0.5
    part = torch.arange(1, steps + 1) / steps
    bridge = a + walk + part * (b - a - walk[:, -1:])
    simulated = float((bridge.max(1).values > tolerance).double().mean())
    right = torch.ones(images, dtype=torch.bool)
    other = right.clone()
    other[:flips] = False
    stated = hidden((Point(0.1, a, right), Point(0.2, b, other)), tolerance)
    assert stated == pytest.approx(simulated, abs=0.03)
    assert hidden((Point(0.1, a, right), Point(0.2, tolerance, other)), tolerance) == 1


def config(**more: object) -> ProbeConfig:
    given_ = {"tolerance": 0.01, "levels": (0.2, 0.4), "refine": 0.05, "one_shot": OneShotConfig()}
    return ProbeConfig.model_validate(given_ | more)


def outcomes(right: int) -> Outcomes:
    return Outcomes(torch.arange(100) < right, 0.0)


def test_a_probe_evaluates_the_middle_of_the_bracket_and_the_next_one_reads_it(
    small: Dataset, ctx: Context, dense: Dense
) -> None:
    model = Dense(dense.checkpoint, (), outcomes(90), outcomes(0))
    curve = (OneShot({}, outcomes(90)), OneShot({}, outcomes(50)))
    inputs: dict[str, Any] = {
        "seed": None,
        "data": small,
        "model": model,
        "scored": dense,
        "curve": curve,
    }
    inputs["scores"] = None
    first = probe(config(), ctx, **inputs, probes=())
    assert first.sparsity == pytest.approx(0.3)
    assert first.found is not None
    by_hand = essential(
        OneShotConfig(sparsity=0.3), ctx, seed=None, data=small, model=model, scored=dense,
        picked=None, like=None, scores=None,
    )  # fmt: skip
    assert first.found.validation.loss == by_hand.validation.loss
    assert masks.kept(first.found.keep) == masks.kept(by_hand.keep)
    for right, level in ((90, 0.35), (50, 0.25)):
        before = (Probe(0.3, OneShot({}, outcomes(right))),)
        assert probe(config(), ctx, **inputs, probes=before).sparsity == pytest.approx(level)


def test_a_probe_with_nothing_left_to_do_passes_without_evaluating(
    small: Dataset, ctx: Context, dense: Dense, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trials.stages.probe.essential", lambda *a, **k: pytest.fail("evaluated"))
    model = Dense(dense.checkpoint, (), outcomes(90), outcomes(0))
    for right in ((90, 90), (90, 50)):
        found = probe(
            config(refine=0.2), ctx, seed=None, data=small, model=model, scored=dense, scores=None,
            curve=tuple(OneShot({}, outcomes(r)) for r in right), probes=(Probe(None, None),),
        )  # fmt: skip
        assert found == Probe(None, None)


@pytest.mark.parametrize("order", itertools.permutations(range(3)))
def test_the_pick_reads_levels_and_probes_together_in_any_order(
    ctx: Context, dense: Dense, order: tuple[int, ...]
) -> None:
    model = Dense(dense.checkpoint, (), outcomes(90), outcomes(0))
    curve = (OneShot({}, outcomes(90)), OneShot({}, outcomes(50)))
    probes = [Probe(0.3, OneShot({}, outcomes(90))), Probe(0.35, OneShot({}, outcomes(60)))]
    probes.append(Probe(None, None))
    cfg = PickConfig(tolerance=0.01, levels=(0.2, 0.4))
    found = pick(cfg, ctx, model=model, curve=curve, probes=[probes[i] for i in order])
    assert found.sparsity == 0.3
