"""What made a model: counted from settings, and compared with what trainings really do."""

from collections.abc import Callable
from typing import Any, get_args

import pytest

from trials import TrialConfig, run_trial
from trials.arms import ArmName
from trials.data.datasets import Counts
from trials.graph.effort import passes_of, reads_scores
from trials.graph.pipeline import TrialGraph, pipeline
from trials.graph.sources import Sources
from trials.model import cost
from trials.model.capability import of_arch
from trials.model.cost import Passes
from trials.reduction.config import ReductionConfig
from trials.stage import Source
from trials.stages import attention, finetune
from trials.training.objective import Predicted, Supervised

COUNTS = Counts(train=1000, validation=200, test=500, classes=10, channels=1)
WHOLE = Sources(Source("data", "d"), Source("weights", "w"), fresh_head=False, counts=COUNTS)
Graph = Callable[..., TrialGraph]


@pytest.fixture(scope="module")
def graph(tiny_trial: Callable[..., TrialConfig]) -> Graph:
    def make(**changes: Any) -> TrialGraph:
        return pipeline(tiny_trial(**changes), WHOLE)

    return make


def passes(made: TrialGraph) -> Passes:
    assert made.finetune is not None
    return passes_of(made.finetune, COUNTS)


SOUP = {"ingredients": 3, "steps": 4, "batch_size": 32}
"""Of 100 images (a tenth): 4 steps of 32, 32, 32 and 4."""

TUNE = {"epochs": 2, "weights": "current"}

HAND: dict[str, tuple[dict[str, Any], Passes]] = {
    "dense adapts and tunes": ({"arm": "dense"}, Passes(trained=2 * 1000 + 2 * 1000)),
    "from pretrained weights the adapted ones are not needed": (
        {"arm": "dense", "finetune": {"epochs": 2, "weights": "pretrained"}},
        Passes(trained=2000),
    ),
    "tickets look once at each training image": (
        {"arm": "tickets"},
        Passes(trained=2000, trained_kept=2000, looked_at=1000),
    ),
    "online tickets look at each image in each epoch": (
        {"arm": "tickets", "tickets": {"selection": "online"}},
        Passes(trained=2000, trained_kept=2000, looked_at=2000),
    ),
    "all patches are kept without a look": (
        {"arm": "tickets", "patch_drop": 0.0, "tickets": {"selection": "online"}},
        Passes(trained=2000, trained_kept=2000),
    ),
    "drawn tickets need no look": (
        {"arm": "tickets", "tickets": {"select": "random_fixed"}},
        Passes(trained=2000, trained_kept=2000),
    ),
    "drawn tickets of unequal size copy the size of those that were scored": (
        {"arm": "tickets", "tickets": {"select": "random_fixed", "scope": "global"}},
        Passes(trained=2000, trained_kept=2000, looked_at=1000),
    ),
    "a teacher looks at each image in each epoch": (
        {"arm": "dense", "finetune": TUNE | {"distill": 0.5}},
        Passes(trained=4000, looked_at=2000),
    ),
    "tokens leave inside": (
        {"arm": "reduced", "reduction": {"method": "evit"}},
        Passes(trained=2000, trained_reduced=2000),
    ),
    "a finished model whose tokens leave inside is not trained": (
        {"arm": "reduced", "reduction": {"method": "evit", "train": False}},
        Passes(trained=2000),
    ),
    "nor is that of another arm, once it is finished": (
        {"arm": "tickets", "reduction": {"method": "tome", "train": False}},
        Passes(trained=2000, trained_kept=2000, looked_at=1000),
    ),
    "predictors have a teacher": (
        {"arm": "reduced", "reduction": {"method": "dynamicvit"}},
        Passes(trained=2000, trained_reduced=2000, looked_at=2000),
    ),
    "lotus": (
        {"arm": "lotus", "issp": SOUP},
        Passes(trained=2000 + 3 * 100, trained_kept=2000, looked_at=1000),
    ),
    "random patches": (
        {"arm": "random_patches", "issp": SOUP},
        Passes(trained=2300, trained_kept=2000),
    ),
    "a control of ISSP makes no soup": (
        {"arm": "random_mask", "issp": SOUP},
        Passes(trained=2000, trained_kept=2000, looked_at=1000),
    ),
    "two rounds": ({"arm": "issp", "issp": SOUP | {"rounds": 2}}, Passes(trained=4600)),
    "rounds that train what is left of a pass over growing data": (
        # Round 1: 100 images, 2 ingredients x 1 step of 32, then 2 of 4 steps: 32 + 32.
        # Round 2: 200 images, the same, then 5 of 7 steps of 32.
        {
            "arm": "issp",
            "issp": {"ingredients": 2, "steps": 1, "batch_size": 32, "rounds": 2}
            | {"round_training": "progressive", "weights": "current"},
        },
        Passes(trained=4000 + (64 + 64) + (64 + 160)),
    ),
    "rounds and recovery of one training": (
        # From 1 to 0.7 by 15 % are 3 rounds: 3, 6 and 10 of 64 steps of 32, then the other 45, of
        # which 32 are a pass.
        {
            "arm": "issp",
            "sparsity": 0.0,
            "issp": {"preset": "progressive", "start": "adapted", "target_sparsity": 0.3},
        },
        Passes(trained=2000 + (3 + 6 + 10) * 32 + 1000 + 13 * 32),
    ),
    "lottery tickets": (
        # From 1 to 0.7 by 20 % are 2 rounds, each as long as the recovery.
        {
            "arm": "issp",
            "sparsity": 0.0,
            "issp": {"preset": "lth", "target_sparsity": 0.3},
        },
        Passes(trained=2000 + 2 * 2000 + 2000),
    ),
    "a pass": ({"arm": "issp", "issp": SOUP | {"steps": "pass"}}, Passes(trained=4300)),
    "the other images": (
        {"arm": "lotus", "issp": SOUP, "mask_data_fraction": 0.2}
        | {"finetune": TUNE | {"data": "other_images"}},
        Passes(trained=2000 + 3 * 128 + 2 * 800),
    ),
    "gradients are worth a training step": (
        {"arm": "essential", "essential": {"criterion": "snip", "calibration_images": 64}},
        Passes(trained=4064),
    ),
    "activations are worth a look": (
        {"arm": "essential", "essential": {"criterion": "wanda", "calibration_images": 64}},
        Passes(trained=4000, looked_at=64),
    ),
    "a recovery that only measures a mask is evaluation": (
        {"arm": "essential", "essential": {"evaluate": "after_finetune"}},
        Passes(trained=4000),
    ),
    "recoveries by which the level is picked are work": (
        {
            "arm": "essential",
            "sparsity": "auto",
            "essential": {"evaluate": "after_finetune", "levels": [0.1, 0.3, 0.5]},
        },
        Passes(trained=4000 + 3 * 2000),
    ),
    "a curve without recovery is evaluation": (
        {"arm": "essential", "sparsity": "auto", "essential": {"levels": [0.1, 0.3, 0.5]}},
        Passes(trained=4000),
    ),
}


@pytest.mark.parametrize("name", HAND)
def test_passes_are_those_counted_by_hand(graph: Graph, name: str) -> None:
    settings, expected = HAND[name]
    assert passes(graph(**settings)) == expected


def test_probes_of_a_refined_curve_count_as_the_plan_lists_them(graph: Graph) -> None:
    section = {"evaluate": "after_finetune", "levels": [0.2, 0.4], "refine": 0.05}
    made = graph(arm="essential", sparsity="auto", essential=section)
    assert passes(made) == Passes(trained=4000 + len(made.curve) * 2000)
    assert len(made.curve) > 2


@pytest.mark.parametrize(
    ("changes", "scored"),
    [
        ({}, True),
        ({"tickets": {"select": "lowest"}}, True),
        ({"tickets": {"select": "random_fixed"}}, False),
        ({"tickets": {"select": "random_fixed", "scope": "global"}}, True),
        ({"patch_drop": 0.0}, False),
    ],
)
def test_tickets_know_whether_a_model_has_to_look(
    graph: Graph, changes: dict[str, Any], scored: bool
) -> None:
    tickets = graph(arm="tickets", **changes).tickets
    assert tickets is not None
    assert reads_scores(tickets) is scored


class Seen:
    """Images that really went through models while a trial was made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trained: list[tuple[int, ReductionConfig | None]] = []
        """Patches that entered of every image that was trained on, and how tokens left inside."""
        self.looked_at = 0
        score = attention.score_images

        def counting(step: Any) -> Any:
            def counted(own: Any, model: Any, seen: Any, whole: Any) -> Any:
                # Padding is no patch, and only gathering leaves patches out.
                gathered = seen.kept is not None and seen.kept.removal == "gather"
                kept = [model.module.patch_embed.num_patches] * len(seen)
                if gathered:
                    kept = (seen.kept.indices < 16).sum(1).tolist()
                reduction = model.arch.reduction
                config = None if reduction is None else seen.config or reduction.config
                self.trained += [(one, config) for one in kept]
                if own.teacher is not None:
                    self.looked_at += len(seen)
                return step(own, model, seen, whole)

            return counted

        for kind in (Supervised, Predicted):
            monkeypatch.setattr(kind, "__call__", counting(kind.__call__))

        def counting_score(cfg: Any, model: Any, x: Any, at_once: Any = None) -> Any:
            self.looked_at += len(x)
            return score(cfg, model, x, at_once)

        for place in (attention, finetune):
            monkeypatch.setattr(place, "score_images", counting_score)


MEASURED = 200 + 500
"""Validation and test images that a scoring model looks at: no part of a training."""

RUNS: dict[str, tuple[dict[str, Any], int]] = {
    **{arm: ({"arm": arm}, MEASURED) for arm in get_args(ArmName)},
    "dense": ({"arm": "dense"}, 0),
    "essential": ({"arm": "essential"}, 0),
    "reduced": ({"arm": "reduced", "reduction": {"method": "tome", "r": 3}}, 0),
    "as it is": ({"arm": "reduced", "reduction": {"method": "tome", "train": False}}, 0),
    "shrinking": (
        {"arm": "issp", "reduction": {"method": "evit", "keep": 0.5, "shrink_epochs": 2}},
        0,
    ),
    "predictors": ({"arm": "reduced", "reduction": {"method": "dynamicvit"}}, 0),
    "predictors and tickets": (
        {"arm": "tickets", "reduction": {"method": "dynamicvit", "keep": 0.8}},
        MEASURED,
    ),
    "issp": ({"arm": "issp"}, 0),
    # Its own patches are drawn: the scores are for its test alone.
    "random_patches": ({"arm": "random_patches"}, MEASURED + 200),
    "random_tickets": ({"arm": "random_tickets"}, MEASURED + 200),
    "global": ({"arm": "lotus", "tickets": {"scope": "global"}}, MEASURED),
    "zero": ({"arm": "lotus", "tickets": {"removal": "zero"}}, MEASURED),
    "online": ({"arm": "tickets", "tickets": {"selection": "online"}}, MEASURED + 200),
    "distill": ({"arm": "lotus", "finetune": TUNE | {"distill": 0.5, "batch_size": 64}}, MEASURED),
    "rounds": (
        {
            "arm": "issp",
            "issp": {"ingredients": 2, "steps": 1, "batch_size": 8, "rounds": 2}
            | {"round_training": "progressive", "weights": "current"},
        },
        0,
    ),
}
"""Settings, and how many images are looked at that the training does not rest on."""


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_training_macs_are_those_of_the_passes_that_are_really_made(
    name: str, tiny_trial: Callable[..., TrialConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, besides = RUNS[name]
    seen = Seen(monkeypatch)
    made = run_trial(tiny_trial(**settings))
    arch = made.results["finetune"].checkpoint.arch
    architecture = of_arch(arch)
    expected = 3 * sum(
        cost.forward_macs(architecture, kept)
        if config is None
        else cost.reduced_macs(architecture, config, kept, training=True)
        for kept, config in seen.trained
    )
    expected += (seen.looked_at - besides) * cost.forward_macs(architecture)
    assert made.results["final"].macs_training == pytest.approx(expected, rel=1e-12)
