"""The readings of ISP and its controls, run on the tiny model: what must be equal, and exact."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from tests.trials.helpers import same
from trials import run_trial
from trials.config import TrialConfig
from trials.sparsity import masks
from trials.sparsity.masks import KeepMask
from trials.sparsity.presets import PRESETS
from trials.stage import closure

Run = Callable[..., dict[str, Any]]
SMALL = {"ingredients": 2, "steps": 2, "batch_size": 32, "lr": 3e-3}


@pytest.fixture(scope="module")
def run(tiny_trial: Callable[..., TrialConfig]) -> Run:
    """The results of a trial of `issp` at 0.5, each set of settings once.

    Four epochs of 7 steps; the pretrained weights are random here.
    """
    found: dict[str, dict[str, Any]] = {}

    def make(arm: str = "issp", **section: Any) -> dict[str, Any]:
        name = repr((arm, sorted(section.items())))
        if name not in found:
            given = {"target_sparsity": 0.5, "batch_size": 32, "lr": 3e-3} | section
            trial = tiny_trial(
                arm=arm, sparsity=0.0, issp=given, dense={"epochs": 0},
                finetune={"epochs": 4, "lr": 3e-3, "batch_size": 32, "weights": "current"},
            )  # fmt: skip
            ran = run_trial(trial)
            assert ran.graph.issp is not None or arm != "issp"
            found[name] = ran.results | {"nodes": closure(ran.graph.final)}
        return found[name]

    return make


def final_weights(results: dict[str, Any]) -> Any:
    return results["finetune"].checkpoint


@pytest.mark.slow
@pytest.mark.parametrize(
    "section",
    [
        {"preset": "isp_published", **SMALL},
        {"preset": "isp_published_votes", "ingredients": 1, "steps": 0},
    ],
    ids=["isp_literal", "one ingredient without a step"],
)
def test_isp_without_a_denoiser_that_acts_is_progressive_pruning(
    run: Run, section: dict[str, Any]
) -> None:
    assert same(run(**section)["issp"].keep, run(preset="progressive")["issp"].keep)
    assert same(final_weights(run(**section)), final_weights(run(preset="progressive")))


def test_votes_of_ingredients_that_trained_can_differ_from_it(run: Run) -> None:
    found = run(preset="isp_published_votes", **SMALL)
    assert not same(found["issp"].keep, run(preset="progressive")["issp"].keep)


EXACT = [name for name in PRESETS if PRESETS[name].get("rounds") == "auto"]


@pytest.mark.slow
@pytest.mark.parametrize("preset", EXACT)
def test_every_reading_ends_at_the_target_to_one_weight(run: Run, preset: Any) -> None:
    small = (
        {} if "ingredients" in PRESETS[preset] and PRESETS[preset]["ingredients"] == 1 else SMALL
    )
    extra = {"train_fraction": 0.4} if preset == "progressive_published" else {}
    found = run(preset=preset, **small, **extra)
    keep: KeepMask = found["issp"].keep
    assert masks.kept(keep) == masks.keep_count(masks.size(keep), 0.5)
    state = final_weights(found).state
    assert all(not state[name][~mask].any() for name, mask in keep.items())
    trained = [n.config.span.steps for n in found["nodes"] if n.stage.name == "round_train"]
    rest = next(n.config for n in found["nodes"] if n.stage.name == "finetune").span
    if preset != "lth":
        assert sum(trained) + rest.steps == 28, "T steps in all"


def test_masks_nest_from_round_to_round(tiny_trial: Callable[..., TrialConfig]) -> None:
    from trials.graph.execute import Direct
    from trials.graph.pipeline import pipeline
    from trials.graph.sources import open_sources

    trial = tiny_trial(
        arm="issp", sparsity=0.1, dense={"epochs": 0},
        issp={"preset": "isp_published_votes", "target_sparsity": 0.5} | SMALL,
        finetune={"epochs": 4, "lr": 3e-3, "batch_size": 32, "weights": "current"},
    )  # fmt: skip
    opened = open_sources(trial.data, trial.model)
    graph = pipeline(trial, opened.sources)
    direct = Direct(opened.objects())
    rounds = [direct.get(node) for node in closure(graph.final) if node.stage.name == "issp"]
    assert graph.essential is not None
    chain = [direct.get(graph.essential).keep, *(one.keep for one in rounds)]
    assert len(chain) == 5
    for outer, inner in itertools.pairwise(chain):
        assert masks.contains(outer, inner)
        assert masks.kept(inner) < masks.kept(outer)


def test_lottery_tickets_end_with_the_weights_that_they_began_with(run: Run) -> None:
    found = run(preset="lth")
    start, keep = found["pretrained"].checkpoint.state, found["issp"].keep
    assert all(same(found["issp"].checkpoint.state[n], start[n] * keep[n]) for n in keep)
    trained = [n.config for n in found["nodes"] if n.stage.name == "denoise"]
    assert [cfg.steps for cfg in trained] == [28] * 4


def test_one_shot_controls_are_trained_as_long(run: Run) -> None:
    found = run(arm="magnitude", preset="progressive")
    assert len(found["finetune"].history) == 4
    assert masks.kept(found["control"].keep) == masks.kept(run(preset="progressive")["issp"].keep)
