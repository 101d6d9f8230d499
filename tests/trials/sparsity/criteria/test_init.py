"""What holds for every criterion, over one table of tiny settings."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

import trials.sparsity.criteria
from tests.trials.helpers import same
from trials.context import Context
from trials.data.datasets import Dataset
from trials.sparsity import masks
from trials.sparsity.allocation import UNSTRUCTURED, n_and_m, tensor_counts
from trials.sparsity.criteria import CRITERIA, CriterionName
from trials.sparsity.masks import KeepMask
from trials.stages.calibrate import CalibrateConfig, WeightScores, calibrate
from trials.stages.dense import Dense
from trials.stages.essential import MaskConfig, OneShotConfig, essential, mask_of


@dataclass(frozen=True)
class Row:
    """One setting of `essential`; a new criterion gets one a scope and a pattern it allows."""

    criterion: str
    scope: str = "global"
    pattern: str = UNSTRUCTURED

    @property
    def settings(self) -> dict[str, str]:
        return {"criterion": self.criterion, "scope": self.scope, "pattern": self.pattern}

    def __str__(self) -> str:
        return f"{self.criterion}-{self.scope}-{self.pattern}"


CANONICAL = (
    Row("magnitude"),
    Row("magnitude", scope="layer"),
    Row("magnitude", pattern="2:4"),
    Row("random"),
    Row("random", scope="layer"),
    Row("random", pattern="2:4"),
    Row("wanda"),
    Row("wanda", scope="layer"),
    Row("wanda", pattern="2:4"),
    Row("lamp"),
    Row("lamp", scope="layer"),
    Row("lamp", pattern="4:8"),
    Row("erk_magnitude"),
    Row("snip"),
    Row("snip", scope="layer"),
    Row("snip", pattern="1:4"),
    Row("sparsegpt"),
    Row("sparsegpt", scope="layer"),
    Row("sparsegpt", pattern="2:4"),
)
UNPATTERNED = [row for row in CANONICAL if row.pattern == UNSTRUCTURED]
PATTERNED = [row for row in CANONICAL if row.pattern != UNSTRUCTURED]
LAYERED = [row for row in CANONICAL if row.scope == "layer"]

Weights = dict[str, Tensor]


def draw(number: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(number))


SHAPES = {"a": (8, 16), "b": (24, 8), "c": (5, 40)}
CASES: dict[str, Weights] = {
    "normal": {name: draw(i, *shape) for i, (name, shape) in enumerate(SHAPES.items())},
    "ties": {name: torch.ones(shape) for name, shape in SHAPES.items()},
    "zeros": {name: torch.zeros(shape) for name, shape in SHAPES.items()},
    "few values": {n: draw(i, *s).round() for i, (n, s) in enumerate(SHAPES.items())},
    "tiny": {name: 1e-12 * draw(i, *shape) for i, (name, shape) in enumerate(SHAPES.items())},
}


def scores_of(criterion: str, weights: Weights, seed: int = 0) -> Weights:
    """Scores on made-up inputs, of which the first is dead, and gradients, of which one is 0."""
    inputs = {name: draw(7, 6, w.shape[1]).double() for name, w in weights.items()}
    for x in inputs.values():
        x[:, 0] = 0
    gradients = {name: draw(8, *w.shape).double() for name, w in weights.items()}
    gradients["a"][0, 0] = 0
    evidence: dict[str, Weights] = {
        "weights": {},
        "norms": {name: x.norm(dim=0) for name, x in inputs.items()},
        "grams": {name: x.T @ x / len(x) for name, x in inputs.items()},
        "gradients": gradients,
    }
    found = CRITERIA[criterion]
    return found.score(weights, evidence[found.needs], seed)


def mask(row: Row, weights: Weights, level: float) -> KeepMask:
    count = masks.keep_count(masks.size(weights), level)
    cfg = MaskConfig.model_validate(row.settings)
    return mask_of(cfg, scores_of(row.criterion, weights), count)


def test_registry_literal_table_and_files_name_the_same_criteria() -> None:
    files = {path.stem for path in Path(trials.sparsity.criteria.__file__).parent.glob("*.py")}
    assert CRITERIA.keys() == set(get_args(CriterionName)) == {row.criterion for row in CANONICAL}
    assert files - {"__init__", "criterion"} == CRITERIA.keys()
    assert all(name == criterion.name for name, criterion in CRITERIA.items())


@pytest.mark.parametrize("level", [0.0, 0.1, 0.2, 0.8, 0.999])
@pytest.mark.parametrize("weights", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("row", UNPATTERNED, ids=str)
def test_every_row_removes_exactly_the_asked_count(
    row: Row, weights: Weights, level: float
) -> None:
    total = masks.size(weights)
    assert total - masks.kept(mask(row, weights, level)) == round(level * total)


@pytest.mark.parametrize("weights", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("row", LAYERED, ids=str)
def test_a_layer_scope_gives_every_tensor_the_level_to_the_weight(
    row: Row, weights: Weights
) -> None:
    for level in (0.1, 0.37, 0.8):
        keep = mask(row, weights, level)
        share = masks.kept(keep) / masks.size(keep)
        assert all(abs(int(k.sum()) - share * k.numel()) < 1 for k in keep.values())


@pytest.mark.parametrize("row", [r for r in CANONICAL if CRITERIA[r.criterion].allocation], ids=str)
def test_a_criterion_with_its_own_allocation_does_not_follow_the_scope(row: Row) -> None:
    own = CRITERIA[row.criterion].allocation
    assert own is not None
    keep = mask(row, CASES["normal"], 0.5)
    counts = {name: int(kept.sum()) for name, kept in keep.items()}
    assert counts == tensor_counts(CASES["normal"], masks.kept(keep), own)
    assert counts != tensor_counts(CASES["normal"], masks.kept(keep), "layer")


@pytest.mark.parametrize("weights", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("row", PATTERNED, ids=str)
def test_a_pattern_keeps_exactly_n_in_every_group_of_m(row: Row, weights: Weights) -> None:
    n, m = n_and_m(row.pattern)
    keep = mask(row, weights, 1 - n / m)
    for name, kept in keep.items():
        groups = torch.stack(kept.split(m, dim=1))  # consecutive inputs of one output
        assert groups.shape[1:] == (weights[name].shape[0], m)
        assert (groups.sum(-1) == n).all()


@pytest.mark.parametrize("weights", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("row", UNPATTERNED, ids=str)
def test_a_higher_level_lies_inside_a_lower_one(row: Row, weights: Weights) -> None:
    # Globally at any two levels; divided by layers, when they are more than a weight apart.
    levels = [0.0, 0.001, 0.1, 0.101, 0.5, 0.9] if row.scope == "global" else [0.1, 0.3, 0.5, 0.9]
    if row.criterion == "erk_magnitude":
        levels = [0.1, 0.3, 0.5, 0.9]
    for outer, inner in itertools.pairwise(mask(row, weights, level) for level in levels):
        assert masks.contains(outer, inner)


@pytest.mark.parametrize("weights", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_weight_gets_a_finite_score_and_stays_as_it_is(
    criterion: str, weights: Weights
) -> None:
    given = {name: w.clone().requires_grad_() for name, w in weights.items()}
    scores = scores_of(criterion, given)
    assert list(scores) == list(weights)
    for name, score in scores.items():
        assert score.shape == weights[name].shape
        assert score.isfinite().all()
        assert (score >= 0).all()
        assert not score.requires_grad
        assert torch.equal(given[name].detach(), weights[name])


@pytest.mark.parametrize("criterion", CRITERIA)
def test_only_a_criterion_that_draws_depends_on_the_seed(criterion: str) -> None:
    first, again, other = (scores_of(criterion, CASES["normal"], seed) for seed in (0, 0, 1))
    assert same(first, again)
    assert same(first, other) != CRITERIA[criterion].draws


@pytest.mark.parametrize("criterion", sorted(CRITERIA.keys() - {"random"}))
def test_a_weight_of_zero_is_worth_least(criterion: str) -> None:
    weights = {name: w.clone() for name, w in CASES["normal"].items()}
    weights["b"][:, 3] = 0
    scores = scores_of(criterion, weights)
    assert (scores["b"][:, 3] == 0).all()


@pytest.fixture
def calibrated(small: Dataset, ctx: Context, dense: Dense) -> Any:
    def run(criterion: str, seed: int = 0) -> WeightScores | None:
        if not CRITERIA[criterion].needs_data:
            return None
        cfg = CalibrateConfig.model_validate({"criterion": criterion, "calibration_images": 20})
        return calibrate(cfg, ctx, seed=seed, data=small, scored=dense)

    return run


@pytest.mark.parametrize("row", CANONICAL, ids=str)
def test_every_row_masks_a_real_model_at_its_level_and_again_the_same(
    row: Row, calibrated: Any, small: Dataset, ctx: Context, dense: Dense
) -> None:
    before = {name: tensor.clone() for name, tensor in dense.checkpoint.state.items()}
    n, m = n_and_m(row.pattern) if row.pattern != UNSTRUCTURED else (2, 5)
    cfg = OneShotConfig.model_validate(row.settings | {"sparsity": 1 - n / m})

    def run() -> KeepMask:
        scores = calibrated(row.criterion)
        inputs: dict[str, Any] = {"scored": dense, "picked": None, "like": None, "scores": scores}
        return essential(cfg, ctx, seed=0, data=small, model=dense, **inputs).keep

    first = run()
    total = masks.size(first)
    assert total - masks.kept(first) == round((1 - n / m) * total)
    assert same(first, run())
    assert same(before, dense.checkpoint.state)
