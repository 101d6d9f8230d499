"""Data-LTH's three students from end to end: on a selector's patches, on random ones, on all."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from trials import TrialConfig, TrialResult, run_trial
from trials.context import Context
from trials.data import datasets as data
from trials.data.config import DataConfig
from trials.data.datasets import Counts, Dataset
from trials.graph.effort import passes_of
from trials.graph.pipeline import TrialGraph, pipeline
from trials.graph.sources import Sources
from trials.model import cost
from trials.model.capability import of_arch
from trials.model.module import Model
from trials.reduction.nested import nested_scores, selecting
from trials.seeding import generator
from trials.stage import Source
from trials.tokens.tickets import random_patches, select_patches
from trials.training.evaluation import evaluate
from trials.training.train import Trainer

ARMS = ("tickets", "random_tickets", "dense")
KWARGS = {"img_size": 8, "patch_size": 2, "in_chans": 1, "embed_dim": 32, "depth": 4}
RECIPE = {"epochs": 2, "lr": 1e-3, "batch_size": 32, "weights": "random", "flip": True}
COUNTS = Counts(train=200, validation=200, test=100, classes=10, channels=1)
LEFT = 7  # ceil(0.75 · ceil(0.75 · ceil(0.75 · 16)))
Run = Callable[..., TrialResult]


@pytest.fixture(scope="module")
def lth(tiny_trial: Callable[..., TrialConfig]) -> Callable[..., TrialConfig]:
    def made(arm: str, keep: float = 0.75, **changes: Any) -> TrialConfig:
        tickets = {"score": "nested", "weights": "tuned", "nested_keep": keep}
        tickets |= {"selection": "online"} | changes.pop("tickets", {})
        recipe = RECIPE | changes.pop("finetune", {})
        model = {
            "name": "vit_tiny_patch16_224",
            "pretrained": False,
            "kwargs": KWARGS | {"num_heads": 2},
        }
        return tiny_trial(arm=arm, tickets=tickets, finetune=recipe, model=model, **changes)

    return made


@pytest.fixture(scope="module")
def run(lth: Callable[..., TrialConfig]) -> Run:
    done: dict[str, TrialResult] = {}

    def made(arm: str, keep: float = 0.75, **changes: Any) -> TrialResult:
        trial = lth(arm, keep, **changes)
        name = trial.model_dump_json()
        if name not in done:
            done[name] = run_trial(trial)
        return done[name]

    return made


@pytest.fixture(scope="module")
def graph(lth: Callable[..., TrialConfig]) -> Callable[..., TrialGraph]:
    def made(arm: str, keep: float = 0.75, **changes: Any) -> TrialGraph:
        return pipeline(lth(arm, keep, **changes), Sources(Source("data", "d"), None, True, COUNTS))

    return made


def state(result: TrialResult, name: str = "finetune") -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = result.results[name].checkpoint.state
    return found


@pytest.mark.slow
@pytest.mark.parametrize("selection", ["online", "static"])
def test_where_nothing_leaves_the_three_students_are_one(run: Run, selection: str) -> None:
    made = [run(arm, 1.0, tickets={"selection": selection}) for arm in ARMS]
    first = made[0]
    assert first.results["selector"].checkpoint.arch.reduction.config.keep == 1.0
    for other in made[1:]:
        assert state(other).keys() == state(first).keys()
        assert all(torch.equal(state(other)[name], one) for name, one in state(first).items())
        assert torch.equal(
            other.results["final"].deployed_test.correct,
            first.results["final"].deployed_test.correct,
        )
    assert {one.results["final"].macs_selector for one in made} == {0.0}


@pytest.fixture
def entering(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Tokens that enter the first block of what is trained, step by step."""
    seen: list[tuple[int, ...]] = []
    plain = Trainer._step

    def watched(self: Trainer, *given: Any) -> Any:
        block = self.model.module.blocks[0]
        look = block.norm1.register_forward_pre_hook(lambda _, x: seen.append(tuple(x[0].shape)))
        try:
            return plain(self, *given)
        finally:
            look.remove()

    monkeypatch.setattr(Trainer, "_step", watched)
    return seen


def test_both_students_see_equally_many_tokens_at_every_step(
    lth: Callable[..., TrialConfig], entering: list[tuple[int, ...]]
) -> None:
    def steps(arm: str) -> list[tuple[int, ...]]:
        entering.clear()
        run_trial(lth(arm, dense={"epochs": 1, "lr": 1e-3, "batch_size": 64}))
        return [shape for shape in entering if shape[1] != 1 + 16]

    chosen, drawn = steps("tickets"), steps("random_tickets")
    assert chosen == drawn
    assert len(chosen) == 2 * 7, "of 200 images, 32 a step"
    assert {shape[1] for shape in chosen} == {1 + LEFT}


def test_the_tickets_are_who_is_left_in_the_selector(run: Run) -> None:
    result = run("tickets")
    selector, kept = result.results["selector"], result.results["tickets"].test
    model = Model.of(selector.checkpoint, torch.device("cpu"))
    images, _ = dataset().on(torch.device("cpu"), "test")
    walked = model.walk(model.inputs(images)).state
    assert walked is not None
    assert walked.places.shape[1] == LEFT
    assert torch.equal(kept.nonzero()[:, 1].view(-1, LEFT), walked.places)
    with torch.no_grad():
        scores = nested_scores(model.module, model.inputs(images), 0.75)
    assert torch.equal(select_patches(scores, LEFT), kept)


def dataset() -> Dataset:
    return data.load(DataConfig(name="digits", validation=200, train_images=200))


def test_random_students_are_tested_on_the_selectors_patches_and_beside_on_their_own(
    run: Run,
) -> None:
    result, chosen = run("random_tickets"), run("tickets")
    kept, final = result.results["tickets"].test, result.results["final"]
    assert torch.equal(kept, chosen.results["tickets"].test)
    model = Model.of(result.results["finetune"].checkpoint, torch.device("cpu"))
    images = dataset()
    own = random_patches(len(kept), 16, LEFT, generator(0, "drawn patches", "test"))
    assert not torch.equal(own, kept)
    for found, keep in ((final.deployed_test, kept), (final.test_drawn, own), (final.test, None)):
        expected = evaluate(model, images, "test", Context(), keep)
        assert torch.equal(found.correct, expected.correct)
        assert found.loss == pytest.approx(expected.loss)
    assert final.test_drawn.loss != final.deployed_test.loss
    assert chosen.results["final"].test_drawn is None


def test_students_and_their_images_are_the_same_but_for_the_patches(graph: Any) -> None:
    nodes = [graph(arm).finetune for arm in ARMS]
    configs = [node.config.identity() for node in nodes]
    for cfg in configs:
        for name in ("patches", "online", "apart"):
            cfg.pop(name, None)
    assert configs[0] == configs[1] == configs[2]
    assert len({node.inputs["model"].config.model_dump_json() for node in nodes}) == 1
    assert {node.seed for node in nodes} == {0}


def test_equal_exposure_is_as_many_patches_in_all(graph: Any) -> None:
    def epochs(arm: str, budget: str) -> int:
        made = graph(arm, finetune={"budget": budget, "epochs": 10}).finetune
        found: int = made.config.epochs
        return found

    assert [epochs(arm, "epochs") for arm in ARMS] == [10, 10, 10]
    more = round(10 * 16 / LEFT)
    assert [epochs(arm, "exposure") for arm in ARMS] == [more, more, 10]
    others = {"budget": "exposure", "epochs": 10, "data": "other_images"}
    whole = graph("tickets", finetune=others, mask_data_fraction=0.5).finetune.config
    assert (whole.patches, whole.epochs) == ("all", 10), "what sees all patches has no more epochs"
    assert graph("tickets", 1.0, finetune={"budget": "exposure"}).finetune.config.epochs == 2


@pytest.mark.parametrize("selection", ["online", "static"])
@pytest.mark.parametrize("arm", ARMS)
def test_what_made_a_student_is_counted_with_its_selector(
    graph: Any, run: Run, arm: str, selection: str
) -> None:
    made = graph(arm, tickets={"selection": selection, "tuning_epochs": 3})
    passes = passes_of(made.finetune, COUNTS)
    train, epochs = COUNTS.train, 2
    # The student rests on no adapted model, but on a selector which does.
    scored = {"online": epochs * train, "static": train}[selection]
    expected = {
        "tickets": {"tuned": 3 * train, "selected": scored, "trained": 2 * train},
        "random_tickets": {"tuned": 0, "selected": 0, "trained": 0},
        "dense": {"tuned": 0, "selected": 0, "trained": epochs * train},
    }[arm]
    kept = 0 if arm == "dense" else epochs * train
    assert passes.model_dump() == {
        "trained_kept": kept, "looked_at": 0, "trained_reduced": 0, **expected,
    }  # fmt: skip


def test_the_selectors_pass_costs_what_is_left_in_it(run: Run) -> None:
    result = run("tickets")
    final, model = result.results["final"], of_arch(result.results["finetune"].checkpoint.arch)
    selector = cost.reduced_macs(model, selecting(0.75))
    assert final.macs_selector == selector < final.macs_dense
    assert final.macs == cost.forward_macs(model, LEFT)
    train, epochs = 200, 2
    trained = 3 * train * (epochs * final.macs + 2 * final.macs_dense + 2 * selector)
    assert final.macs_training == pytest.approx(trained + epochs * train * selector)
