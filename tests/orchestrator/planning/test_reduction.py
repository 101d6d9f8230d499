"""`reduction:` in a sweep file: what is refused, which trials there are, what a plan shows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.commands.foreseeing import token_words
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import plan
from orchestrator.planning.problems import SweepError
from orchestrator.planning.sweepfile import load_sweep
from orchestrator.storage.keys import key_of
from orchestrator.worker.labels import trial_params, trial_tags
from trials.stages.reduced import ReducedConfig

Tiny = Callable[..., SweepConfig]

GOOD = """\
name: tiny
data: {name: digits}
model: {name: vit_tiny_patch16_224, pretrained: false, kwargs: {img_size: 8, patch_size: 2}}
tickets: {weights: adapted}
finetune: {weights: current}
"""
REDUCED = "search: {arm: [reduced]}\n"
TICKETS = "search: {arm: [tickets]}\n"


def refused(tmp_path: Path, text: str, *overrides: str) -> list[str]:
    path = tmp_path / "sweep.yaml"
    path.write_text(GOOD + text, encoding="utf-8")
    with pytest.raises(SweepError) as caught:
        plan(load_sweep(path, list(overrides)))
    return [str(problem) for problem in caught.value.problems]


BAD = {
    "a method that nobody knows": (
        "reduction: {method: tom}\n" + REDUCED,
        "reduction.method = tom: must be",
    ),
    "no method": (
        REDUCED,
        "reduction.method = none: the arm reduced needs one; write evit, tome, dynamicvit or",
    ),
    "a share in percent": (
        "reduction: {method: evit, keep: 70}\n" + REDUCED,
        "reduction.keep = 70: must be",
    ),
    "untrained predictors": (
        "reduction: {method: dynamicvit, train: false}\n" + REDUCED,
        "method = dynamicvit has predictors, which have to be trained",
    ),
    "a list and a schedule": (
        "reduction: {method: tome, r: [1, 2], r_schedule: decreasing}\n" + REDUCED,
        "r_schedule = decreasing needs one number r, not a list",
    ),
    "hidden patches": (
        "reduction: {method: tome}\n" + TICKETS,
        "tickets.removal = zero: hidden tokens would be counted as kept by reduction.method = tome",
        "tickets.removal=zero",
    ),
    "uneven tickets": (
        "reduction: {method: evit}\n" + TICKETS,
        "tickets.scope = global: reduction.method = evit needs equally many tokens in every image",
        "tickets.scope=global",
    ),
    "two teachers": (
        "reduction: {method: dynamicvit}\n" + REDUCED,
        "finetune.distill = 0.5: dynamicvit has a teacher of its own; write 0",
        "finetune.distill=0.5",
    ),
    "a fall that does not end": (
        "reduction: {method: evit, shrink_start: 2, shrink_epochs: 9}\n" + REDUCED,
        "reduction.shrink_epochs = 9: after the 5 of finetune.epochs",
    ),
    "halving": (
        "reduction: {method: evit}\n"
        "search: {arm: [lotus], method: halving, patch_drop: [0.1, 0.2]}\n",
        "search.method = halving: does not stop trainings with reduction.method = evit early",
    ),
    "no class token": (
        "reduction: {method: evit}\n" + REDUCED,
        "reduction.method = evit reads the class token, and this model has none: write method: "
        "tome",
        "model.kwargs.class_token=false",
        "model.kwargs.global_pool=avg",
    ),
    "pooled predictions": (
        "reduction: {method: dynamicvit}\n" + REDUCED,
        "which global_pool = avg would average in: write method: tome",
        "model.kwargs.global_pool=avg",
    ),
    "a model that drops patches": (
        "reduction: {method: random}\n" + REDUCED,
        "model.kwargs.patch_drop_rate drops tokens inside the model as well: remove it",
        "model.kwargs.patch_drop_rate=0.5",
    ),
    "other blocks": (
        "reduction: {method: tome}\n" + REDUCED,
        "reduction.method = tome: block 0 of vit_base_patch16_xp_224 is a ParallelScalingBlock, "
        "whose attention and MLP cannot be told apart; choose another model or method: none",
        "model.name=vit_base_patch16_xp_224",
        "model.kwargs.embed_dim=192",
        "model.kwargs.depth=1",
        "model.kwargs.num_heads=3",
    ),
    "no patch left": (
        "reduction: {method: dynamicvit, keep: 0.1}\n" + REDUCED,
        "reduction.keep = 0.1: stage 2 would keep 0 of 16 patches",
    ),
    "a block that is not there": (
        "reduction: {method: evit, blocks: [1, 99]}\n" + REDUCED,
        "reduction.blocks = [1, 99]: the model has blocks 0 to 11",
    ),
    "nothing to merge": (
        "reduction: {method: tome}\nsearch: {arm: [tickets], patch_drop: [0.1, 0.95]}\n",
        "reduction.r = 8: the tickets leave 1 patch, so nothing can be merged",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    text, said, *overrides = BAD[name]
    (problem,) = refused(tmp_path, text, *overrides)
    assert said in problem
    assert "\n" not in problem


def test_one_value_of_an_axis_is_refused_at_its_place(tmp_path: Path) -> None:
    text = "search: {arm: [reduced], reduction.method: [tome, none], reduction.keep: [0.5, 2]}\n"
    assert [one.split(":")[0] for one in refused(tmp_path, text)] == ["search.reduction.keep.1 = 2"]
    text = "search: {arm: [reduced], reduction.method: [tome, none]}\n"
    assert refused(tmp_path, text)[0].startswith("search.reduction.method = none: the arm reduced")


def reduced(tiny: Tiny, block: str, *more: str) -> Any:
    return plan(tiny(f"search: {block}\n", *more)).trials


def test_a_method_is_a_trial_of_its_own_only_by_the_settings_that_it_reads(tiny: Tiny) -> None:
    block = (
        "{arm: [reduced], reduction.method: [tome, evit], reduction.keep: [0.5, 0.7], seed: [0]}"
    )
    found = reduced(tiny, block)
    assert [trial.axes for trial in found] == [
        {"arm": "reduced", "seed": 0, "reduction.method": "tome"},
        {"arm": "reduced", "seed": 0, "reduction.method": "evit", "reduction.keep": 0.5},
        {"arm": "reduced", "seed": 0, "reduction.method": "evit", "reduction.keep": 0.7},
    ]
    assert len({trial.key for trial in found}) == 3


def test_the_dense_arm_and_every_trial_without_a_method_ignore_the_section(tiny: Tiny) -> None:
    (plain,) = reduced(tiny, "{arm: [dense], seed: [0]}")
    (other,) = reduced(tiny, "{arm: [dense], seed: [0]}", "reduction.method=evit")
    assert plain.key == other.key
    assert not [name for name in trial_params(other, {}) if name.startswith("reduction.")]
    (lotus,) = reduced(tiny, "{arm: [lotus], seed: [0]}")
    (keep,) = reduced(tiny, "{arm: [lotus], seed: [0]}", "reduction.keep=0.5")
    (evit,) = reduced(tiny, "{arm: [lotus], seed: [0]}", "reduction.method=evit")
    assert lotus.key == keep.key != evit.key
    assert lotus.graph.finetune.stage.name == "finetune"
    assert evit.graph.finetune.stage.name == "reduced"
    assert key_of(evit.graph.issp) == key_of(lotus.graph.issp), "masks know of no reduction"


def test_without_training_seeds_share_what_draws_nothing(tiny: Tiny) -> None:
    block = "{arm: [reduced], seed: [0, 1], reduction.train: [false]}"
    for method, seeds in (("tome", None), ("random", 0)):
        first = reduced(tiny, block, f"reduction.method={method}", "dense.epochs=0")[0]
        node = first.graph.finetune
        assert isinstance(node.config, ReducedConfig)
        assert (node.config.epochs, node.seed) == (0, seeds)
        assert node.inputs["model"] is first.graph.dense
        assert node.inputs["teacher"] is node.inputs["tickets"] is None
    for arm in ("tickets", "random_tickets", "issp"):
        block = f"{{arm: [{arm}], seed: [0], reduction.train: [false]}}"
        (after,) = reduced(tiny, block, "reduction.method=tome")
        assert after.graph.finetune.inputs["model"].stage.name == "finetune", arm


def test_dynamicvit_has_its_own_rate_clip_count_and_teacher(tiny: Tiny) -> None:
    method = "reduction.method=dynamicvit"
    (trial,) = reduced(tiny, "{arm: [reduced], seed: [0]}", method, "finetune.lr=0.5")
    cfg = trial.graph.finetune.config
    assert isinstance(cfg, ReducedConfig)
    assert (cfg.lr, cfg.grad_clip, cfg.reduction.count) == (1e-3, 1.0, "published")
    assert trial.graph.finetune.inputs["teacher"] is trial.graph.dense
    assert trial.config.finetune.grad_clip == 1.0
    (written,) = reduced(
        tiny,
        "{arm: [tickets], seed: [0]}",
        method,
        "finetune.grad_clip=3",
        "reduction.reference_teacher=pretrained",
    )
    cfg = written.graph.finetune.config
    assert (cfg.grad_clip, cfg.reduction.count) == (3.0, "entering")
    assert written.graph.finetune.inputs["teacher"] is written.graph.pretrained
    (asked,) = reduced(tiny, "{arm: [tickets], seed: [0]}", method, "reduction.count=published")
    assert asked.graph.finetune.config.reduction.count == "published"


def test_a_plan_shows_the_tokens_of_each_block(tiny: Tiny) -> None:
    (whole,) = reduced(
        tiny, "{arm: [reduced], seed: [0]}", "reduction.method=tome", "reduction.r=3"
    )
    assert token_words(whole) == "17/14 → 11 (tome, r 3)"
    assert trial_tags(whole)["lotus.tokens"] == "17/14 → 11"
    block = "{arm: [tickets], patch_drop: [0.5], seed: [0]}"
    (half,) = reduced(tiny, block, "reduction.method=evit")
    assert token_words(half) == "9/8 → 7 (evit, keep 0.7, patch_drop 0.5)"
    (dense,) = reduced(tiny, "{arm: [dense], seed: [0]}", "reduction.method=evit")
    assert dense.tokens == ()
    assert "lotus.tokens" not in trial_tags(dense)
