"""Every reading of ISSP on made-up weights: what it must give, whatever the ingredients say.

The traps are those of the specification of ISSP; rounds run as the pipeline runs them.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.trials.helpers import same
from trials.config import IsspSection
from trials.sparsity import masks
from trials.sparsity.masks import KeepMask
from trials.sparsity.target import (
    absolute_sparsity,
    goal_count,
    ingredient_count,
    rounds_to_target,
    stopped,
)
from trials.stages.denoise import Candidates
from trials.stages.issp import EXACT, MERGES, IsspConfig, merged_mask

SHAPES = {"a": (40, 25), "b": (10, 100)}
TOTAL = 2000


@dataclass
class Ran:
    """What the rounds of one reading did: the masks after each, and the last candidates."""

    first: KeepMask
    keeps: list[KeepMask]
    candidates: Candidates
    cfg: IsspConfig
    theta: dict[str, Tensor]

    @property
    def sparsity(self) -> float:
        return masks.sparsity(self.keeps[-1])


def magnitudes(seed: int, coarse: bool = False) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    made = {name: torch.randn(shape, generator=draw) for name, shape in SHAPES.items()}
    # Coarse: a handful of values, so that nearly every choice is a tie.
    return {name: (w.round() if coarse else w) for name, w in made.items()}


def run(
    section: Mapping[str, Any],
    s1: float = 0.3,
    noise: float = 0.0,
    seed: int = 0,
    coarse: bool = False,
) -> Ran:
    """The rounds of a section; ingredient n is theta plus noise instead of a training."""
    plain = IsspSection.model_validate(section).resolved()
    base = magnitudes(seed, coarse)
    theta = {name: w.abs() for name, w in base.items()}
    first = masks.top_k(theta, masks.keep_count(TOTAL, s1))
    keeps: list[KeepMask] = []
    hits = plain.schedule != "remaining" or plain.merge in EXACT
    rounds = plain.rounds
    if rounds == "auto":
        rounds = rounds_to_target(plain.schedule, plain.round_fraction, s1, plain.target_sparsity)
    for number in range(1, rounds + 1):
        cfg = plain.part(IsspConfig, rounds=rounds, round=number, last_hits_target=hits)
        parent = keeps[-1] if keeps else first
        candidates = _candidates(plain, cfg, base, first, parent, noise)
        keeps.append(merged_mask(cfg, theta, first, parent, candidates))
    return Ran(first, keeps, candidates, cfg, theta)


def _candidates(
    plain: IsspSection,
    cfg: IsspConfig,
    base: dict[str, Tensor],
    first: KeepMask,
    parent: KeepMask,
    noise: float,
) -> Candidates:
    found, scores = [], []
    for n in range(plain.ingredients):
        other = magnitudes(1000 * cfg.round + n)
        scores.append({x: (w + noise * other[x]).abs() for x, w in base.items()})
        count = ingredient_count(cfg, first, parent, n)
        found.append(masks.top_k(scores[-1], count, parent))
    if stopped(cfg, first, parent):
        found = [parent]
    mean = {name: torch.stack([s[name] for s in scores]).mean(0) for name in base}
    return Candidates(tuple(found), mean, None, (0.0,) * len(found), ())


# One small setting per way to count; every merge and both references are tried with each.
WAYS: dict[str, dict[str, Any]] = {
    "one target": {},
    "levels": {"levels": [0.4, 0.5, 0.6, 0.7], "ingredients": 4},
    "levels around": {"levels": [0.6, 0.35], "ingredients": 3},
    "geometric": {"rounds": 3},
    "cubic": {"rounds": 3, "schedule": "cubic"},
    "remaining": {"rounds": 4, "schedule": "remaining", "round_fraction": 0.05},
    "remaining, far": {"rounds": 3, "schedule": "remaining", "round_fraction": 0.5},
    "stopping": {"rounds": 4, "schedule": "remaining", "stop_within": 0.1},
    "trimmed": {"rounds": 4, "schedule": "remaining", "stop_within": 0.1, "final_trim": True},
}
TABLE = [
    pytest.param({"merge": merge, "sparsity_reference": reference, **ways}, id=name)
    for merge, reference, (way, ways) in itertools.product(
        MERGES, ("absolute", "relative"), WAYS.items()
    )
    for name in [f"{merge}-{reference}-{way}"]
]


@pytest.mark.slow
@pytest.mark.parametrize("section", TABLE)
@settings(max_examples=8, deadline=None)
@given(
    s1=st.sampled_from([0.0, 0.2, 0.35]),
    noise=st.sampled_from([0.0, 0.2, 2.0]),
    seed=st.integers(0, 99),
    coarse=st.booleans(),
)
def test_every_reading_keeps_the_invariants_of_a_mask(
    section: dict[str, Any], s1: float, noise: float, seed: int, coarse: bool
) -> None:
    ran = run(section | {"target_sparsity": 0.6}, s1, noise, seed, coarse)
    chain = [ran.first, *ran.keeps]
    for outer, inner in itertools.pairwise(chain):
        assert masks.contains(outer, inner), "every round prunes inside the one before"

    cfg, keeps = ran.cfg, ran.candidates.keeps
    goal, last = goal_count(cfg, ran.first), masks.kept(ran.keeps[-1])
    if cfg.merge in EXACT and not cfg.stop_within:
        assert last == goal, "exactly the target, ties included"
    if cfg.final_trim and cfg.merge in (*EXACT, "union_kept"):
        assert last == goal
    if cfg.ends_at_target:
        assert last == TOTAL - round(0.6 * TOTAL), "what the controls are told beforehand"

    counts = [masks.kept(keep) for keep in keeps]
    assert masks.kept(masks.intersection(keeps)) <= min(counts)
    assert masks.kept(masks.union(keeps)) >= max(counts)
    if len(keeps) > 1 and not cfg.final_trim:
        between = {
            "union_kept": lambda: last >= max(counts),
            "union_pruned": lambda: last <= min(counts),
            "intersect_kept": lambda: last <= min(counts),
        }
        assert between.get(cfg.merge, lambda: True)()
    if cfg.merge == "vote_topk" and not cfg.stop_within:
        both, either = masks.intersection(keeps), masks.union(keeps)
        assert masks.contains(either, ran.keeps[-1])
        assert masks.contains(ran.keeps[-1], both) or masks.kept(both) > goal
    if cfg.merge == "isp_literal" and not cfg.levels and not cfg.stop_within:
        assert same(ran.keeps[-1], masks.top_k(ran.theta, goal, ran.first))


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("rounds", [1, 2, 4])
@pytest.mark.parametrize("schedule", ["geometric", "cubic"])
def test_steps_on_weights_that_do_not_move_are_one_step(
    merge: str, rounds: int, schedule: str
) -> None:
    ran = run({"merge": merge, "rounds": rounds, "schedule": schedule, "target_sparsity": 0.6})
    assert same(ran.keeps[-1], masks.top_k(ran.theta, 800))


@pytest.mark.parametrize("reference", ["absolute", "relative"])
def test_levels_on_identical_weights_nest(reference: str) -> None:
    """Union of the kept sets = the lowest level, union of the pruned sets = the highest."""
    levels = {"levels": [0.5, 0.4, 0.7, 0.6], "ingredients": 4, "sparsity_reference": reference}
    for merge, level in (("union_kept", 0.4), ("union_pruned", 0.7), ("intersect_kept", 0.7)):
        ran = run(levels | {"merge": merge})
        assert ran.sparsity == pytest.approx(absolute_sparsity(ran.cfg, ran.first, level))
    assert run(levels | {"merge": "union_kept"}, s1=0.0).sparsity == pytest.approx(0.4)


@pytest.mark.parametrize(("level", "expected"), [(0.3, 0.51), (0.5, 0.65)])
@pytest.mark.parametrize("merge", MERGES)
def test_relative_targets_compose(merge: str, level: float, expected: float) -> None:
    section = {"merge": merge, "sparsity_reference": "relative", "target_sparsity": level}
    assert run(section).sparsity == pytest.approx(expected)


@pytest.mark.parametrize(
    ("noise", "union", "pruned"), [(0.001, 0.46, 0.54), (0.005, 0.35, 0.66), (0.02, 0.30, 0.83)]
)
def test_noise_moves_the_two_unions_apart_as_was_measured(
    noise: float, union: float, pruned: float
) -> None:
    """Five masks at 50 % inside the 30 % mask, weights of sigma 0.02."""
    draw = torch.Generator().manual_seed(0)
    base = {"w": 0.02 * torch.randn(200_000, generator=draw)}
    first = masks.top_k({"w": base["w"].abs()}, 140_000)
    keeps = []
    for _ in range(5):
        moved = base["w"] + noise * torch.randn(200_000, generator=draw)
        keeps.append(masks.top_k({"w": moved.abs()}, 100_000, first))
    assert masks.sparsity(masks.union(keeps)) == pytest.approx(union, abs=0.01)
    assert masks.sparsity(masks.intersection(keeps)) == pytest.approx(pruned, abs=0.01)


@pytest.mark.parametrize("s1", [0.0, 0.1, 0.3, 0.5])
def test_lotus_literal_predicts_its_own_sparsity(s1: float) -> None:
    """Without a look-ahead, union of pruned = the highest level of what the first mask left."""
    ran = run({"preset": "lotus_literal"}, s1)
    assert ran.sparsity == pytest.approx(1 - (1 - s1) * (1 - 0.7))
    assert run({"preset": "lotus_literal"}, s1, noise=0.2).sparsity > ran.sparsity


@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize(
    ("preset", "rounds"),
    [
        ("isp_paper", 5),
        ("isp_published", 4),
        ("isp_published_votes", 4),
        ("isp_code", 6),
        ("progressive", 4),
        ("progressive_published", 3),
        ("lth", 3),
    ],
)
def test_the_readings_of_isp_end_exactly_at_the_target(
    preset: str, rounds: int, noise: float
) -> None:
    """From 70 % of the weights to 40 %: ln(4/7) / ln(0.85) is 3.4 rounds."""
    ran = run({"preset": preset, "target_sparsity": 0.6}, noise=noise)
    assert masks.kept(ran.keeps[-1]) == 800
    assert len(ran.keeps) == rounds
    if preset != "isp_paper":
        assert masks.kept(ran.keeps[-2]) > 800, "the last round has something to do"


def test_the_code_stops_near_the_target_and_then_prunes_to_it() -> None:
    code = {"preset": "isp_code", "target_sparsity": 0.6}
    # 1400 left by the first mask; 100 weights are five points, and 827 are 27 above the target.
    found = [masks.kept(keep) for keep in run(code).keeps]
    assert found == [1260, 1134, 1021, 919, 827, 800]
    found = [masks.kept(keep) for keep in run(code | {"rounds": 9}).keeps]
    assert found == [1260, 1134, 1021, 919, 827, 800, 800, 800, 800], "at once, not in the end"
    late = run(code | {"rounds": 9, "trim_when": "last_round"})
    assert [masks.kept(keep) for keep in late.keeps][-3:] == [827, 827, 800]
    assert same(late.keeps[-1], run(code | {"rounds": 9}).keeps[-1])


def test_a_union_that_removes_too_little_ends_at_the_target_all_the_same() -> None:
    ran = run({"preset": "isp_code", "target_sparsity": 0.6}, noise=2.0)
    assert masks.kept(ran.keeps[-2]) > 900, "the ingredients disagree, so rounds remove less"
    assert masks.kept(ran.keeps[-1]) == 800, "one prune from the mask that is there"
