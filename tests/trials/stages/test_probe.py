import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trials import masks
from trials.data import Dataset
from trials.detect import first_violation
from trials.stages.dense import Dense
from trials.stages.essential import OneShot, OneShotConfig, PickConfig, Probe, essential, pick
from trials.stages.probe import ProbeConfig, count_probes, middle, probe
from trials.train import Context, Outcomes

COARSE = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
FULL = [k / 100 for k in range(1, 51)]


def bracket(
    levels: Sequence[float], drop: Callable[[float], float], tolerance: float
) -> tuple[float, float | None]:
    low = first_violation(levels, [drop(s) for s in levels], tolerance)
    return low, next((s for s in levels if s > low), None)


def refine(
    drop: Callable[[float], float], tolerance: float, width: float, coarse: Sequence[float] = COARSE
) -> list[float]:
    """All levels that the coarse curve and its probes evaluate."""
    levels = sorted(coarse)
    for _ in range(count_probes(coarse, width)):
        new = middle(levels, [drop(s) for s in levels], tolerance, width)
        levels = sorted([*levels, *([] if new is None else [new])])
    return levels


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
    assert count_probes((0.1, 0.2), 0.1) == 0
    assert middle([0.1, 0.2], [0.0, 0.5], 0.01, 0.1) is None
    assert middle([0.1, 0.2], [0.0, 0.0], 0.01, 0.001) is None
    assert middle([0.1, 0.2], [0.5, 0.5], 0.01, 0.01) == 0.05


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
