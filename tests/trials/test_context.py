"""Micro-batches: less memory, the same step up to rounding."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import timm.layers
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

from tests.trials.helpers import curve, same
from trials import run_trial
from trials.config import TrialConfig
from trials.context import Context
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.sparsity.masks import KeepMask
from trials.stages.attention import AttentionConfig, score_images
from trials.tokens import tickets
from trials.tokens.patches import Patches
from trials.training.recipe import TrainConfig
from trials.training.train import Trainer

Make = Callable[..., Trainer]
RECIPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "smoothed": {"label_smoothing": 0.2},
    "moved": {"flip": True, "crop": 1},
    "clipped": {"grad_clip": 0.01},
}
PATCHES = ["all", "ticket", "padded", "random", "online"]


@contextmanager
def in_float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything that would be float32 is float64, so that rounding cannot hide a mistake."""
    with monkeypatch.context() as patch:
        patch.setattr(Tensor, "float", Tensor.double)
        yield


def double(checkpoint: Checkpoint) -> Checkpoint:
    return Checkpoint(checkpoint.arch, {n: t.double() for n, t in checkpoint.state.items()})


@pytest.fixture(scope="module")
def scorer(make_checkpoint: Callable[..., Checkpoint]) -> Model:
    return Model.of(double(make_checkpoint(seed=1)), torch.device("cpu"))


def patches(kind: str, ticket: Tensor, scorer: Model, at_once: int | None) -> Patches | None:
    if kind == "all":
        return None
    if kind == "padded":
        counts = torch.arange(len(ticket)) % 16 + 1
        draw = torch.Generator().manual_seed(0)
        return Patches(tickets.random_patches(len(ticket), 16, counts, draw))
    score = partial(score_images, AttentionConfig(), scorer, at_once=at_once)
    online = kind == "online"
    return Patches(ticket, random=kind == "random", scorer=score if online else None)


def gradients(run: Callable[[], object]) -> list[Tensor]:
    """All gradients as one vector for each optimizer step, as the step gets them."""
    seen: list[Tensor] = []

    def look(optimizer: Any, args: object, kwargs: object) -> None:
        grads = [p.grad for group in optimizer.param_groups for p in group["params"]]
        seen.append(torch.cat([g.flatten() for g in grads if g is not None]).clone())

    handle = register_optimizer_step_pre_hook(look)
    run()
    handle.remove()
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("kind", PATCHES)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(1, 11), st.sampled_from([0.0, 0.6]), st.sampled_from(sorted(RECIPES)))
def test_gradients_and_weights_of_micro_batches_are_those_of_the_whole_batch(
    trainer: Make,
    checkpoint: Checkpoint,
    half: KeepMask,
    ticket: Tensor,
    scorer: Model,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    micro_batch: int,
    distill: float,
    recipe: str,
) -> None:
    if recipe == "moved" and kind in ("ticket", "padded"):
        extra = {"flip": True}  # a crop would break the grid
    else:
        extra = RECIPES[recipe]
    cfg = TrainConfig.model_validate({"lr": 1e-3, "batch_size": 12, "weight_decay": 0.1} | extra)

    def run(at_once: int | None) -> tuple[list[Tensor], dict[str, Tensor], float]:
        made = trainer(
            cfg,
            double(checkpoint),
            ctx=Context(micro_batch=at_once),
            subset=torch.arange(28),
            keep=half,
            patches=patches(kind, ticket, scorer, at_once),
            teacher=scorer,
            distill=distill,
        )
        losses: list[float] = []
        found = gradients(lambda: losses.append(made.steps(3)))
        return found, made.model.module.state_dict(), losses[0]

    with in_float64(monkeypatch):
        whole, parts = run(None), run(micro_batch)
    for a, b in zip(whole[0], parts[0], strict=True):
        assert a.dtype == torch.float64
        assert float((a - b).norm() / a.norm()) < 1e-8
    for name, tensor in whole[1].items():
        torch.testing.assert_close(parts[1][name], tensor, rtol=1e-6, atol=1e-9)
    assert parts[2] == pytest.approx(whole[2], rel=1e-9)


@pytest.mark.parametrize(
    ("kind", "micro_batch"), zip(PATCHES, [32, 33, 100, 32, 10_000], strict=True)
)
def test_a_micro_batch_of_a_whole_batch_changes_no_bit(
    trainer: Make,
    make_checkpoint: Callable[..., Checkpoint],
    ticket: Tensor,
    kind: str,
    micro_batch: int,
) -> None:
    found = []
    scorer = Model.of(make_checkpoint(seed=1), torch.device("cpu"))
    for at_once in (None, micro_batch):
        made = trainer(
            start=make_checkpoint(drop_rate=0.2, drop_path_rate=0.1),
            ctx=Context(micro_batch=at_once),
            patches=patches(kind, ticket, scorer, at_once),
            teacher=scorer,
            distill=0.5,
        )
        found.append((curve(made.epochs(2)), dict(made.model.module.state_dict())))
    losses = [[epoch[0] for epoch in curve] for curve, _ in found]  # evaluation has other parts
    assert losses[0] == losses[1]
    assert same(found[0][1], found[1][1])


def test_dropout_draws_another_sample_in_micro_batches(
    trainer: Make, make_checkpoint: Callable[..., Checkpoint]
) -> None:
    start = make_checkpoint(proj_drop_rate=0.2)
    runs = [trainer(start=start, ctx=Context(micro_batch=n)) for n in (None, 8, 8)]
    losses = [run.steps(2) for run in runs]
    assert losses[0] != pytest.approx(losses[1], rel=1e-4)
    assert losses[0] == pytest.approx(losses[1], rel=0.2)
    assert losses[1] == losses[2]


@pytest.mark.parametrize(
    "changes",
    [
        {"tickets": {"selection": "online"}, "finetune": {"epochs": 1, "distill": 0.5}},
        {"arm": "essential", "essential": {"criterion": "snip", "calibration_images": 40}},
        {"arm": "essential", "essential": {"criterion": "sparsegpt", "calibration_images": 40}},
        {"arm": "essential", "essential": {"evaluate": "after_finetune"}},
        {"rungs": (1,), "tickets": {"score": "rollout", "scope": "global"}},
        {
            "issp": {"rounds": 2, "round_training": "progressive", "steps": 1, "ingredients": 2},
            "mask_data_fraction": 0.5,
        },
    ],
    ids=["online", "snip", "sparsegpt", "after_finetune", "rung", "progressive"],
)
def test_no_pass_of_any_stage_takes_more_images(
    tiny_trial: Callable[..., TrialConfig], changes: dict[str, Any]
) -> None:
    seen: set[int] = set()

    def look(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        if isinstance(module, timm.layers.PatchEmbed):
            seen.add(len(args[0]))

    base = {
        "data": {"name": "digits", "validation": 40, "train_images": 60, "test_images": 40},
        "dense": {"epochs": 1, "batch_size": 32},
        "finetune": {"epochs": 1, "batch_size": 32},
    }
    handle = register_module_forward_pre_hook(look)
    try:
        run_trial(tiny_trial(**base | changes), Context(micro_batch=7))
    finally:
        handle.remove()
    assert max(seen) == 7


def test_a_micro_batch_without_an_image_is_refused() -> None:
    with pytest.raises(ValueError, match="micro_batch = 0: a pass needs at least one image"):
        Context(micro_batch=0)
