import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from tests.trials.helpers import curve, same
from trials.context import Context
from trials.data.datasets import Dataset
from trials.errors import StageInputError
from trials.model.forward import forward
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.sparsity import masks
from trials.sparsity.masks import KeepMask
from trials.stages.attention import AttentionConfig, score_images
from trials.tokens import tickets
from trials.tokens.patches import Patches
from trials.training.evaluation import evaluate
from trials.training.recipe import TrainConfig
from trials.training.train import Trainer

RECIPE = TrainConfig(lr=3e-3, batch_size=32, weight_decay=0.1)


def bits(trainer: Trainer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.module.state_dict().items()}


class Step:
    """What one forward pass of a training step saw."""

    def __init__(self, x: Tensor, kept: Tensor | None) -> None:
        self.x, self.kept = x.clone(), kept


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """Every training batch that reaches the model, in order."""
    seen: list[Step] = []

    def watched(
        model: Any, x: Tensor, kept: Any = None, removal: Any = "gather", **more: Any
    ) -> Tensor:
        if model.training:
            seen.append(Step(x, kept))
        return forward(model, x, kept, removal, **more)

    monkeypatch.setattr("trials.model.module.forward", watched)
    return seen


def places(x: Tensor, images: Tensor) -> list[int]:
    """Which of `images` each row of `x` is; -1 = none."""
    equal = (x.flatten(1).unsqueeze(1) == images.flatten(1)).all(2)
    return [int(row.nonzero()[0]) if row.any() else -1 for row in equal]


@pytest.fixture
def inputs(small: Dataset, checkpoint: Checkpoint, cpu: torch.device) -> Tensor:
    return Model.of(checkpoint, cpu).inputs(torch.tensor(small.train.images))


def test_masked_weights_are_exactly_zero_before_and_after_every_step(
    trainer: Callable[..., Trainer], half: KeepMask, checkpoint: Checkpoint
) -> None:
    made = trainer(keep=half)
    named, looks = dict(made.model.module.named_parameters()), []

    def look(*_: object) -> None:
        dropped = [named[name].detach()[~keep] for name, keep in half.items()]
        looks.append(all(not d.any() and not d.signbit().any() for d in dropped))

    hook = made.model.module.register_forward_pre_hook(look)
    made.steps(9)
    hook.remove()
    look()
    assert looks == [True] * 10
    moved = [named[n].detach()[k] != checkpoint.state[n][k] for n, k in half.items()]
    assert all(m.float().mean() > 0.99 for m in moved), "the surviving weights must train"


def test_masking_leaves_all_other_parameters_alone(
    trainer: Callable[..., Trainer], checkpoint: Checkpoint
) -> None:
    nothing = {
        n: torch.zeros_like(k) for n, k in masks.ones_like(masks.prunable(checkpoint)).items()
    }
    state = bits(trainer(keep=nothing))
    for name, tensor in checkpoint.state.items():
        expected = torch.zeros_like(tensor) if name in nothing else tensor
        assert torch.equal(state[name], expected), name


@pytest.mark.parametrize(
    "extra",
    [{}, {"global_pool": "avg", "class_token": False}, {"drop_rate": 0.2, "drop_path_rate": 0.2}],
    ids=["cls", "avg", "dropout"],
)
def test_sparsity_zero_and_patch_drop_zero_train_the_dense_model_bit_for_bit(
    trainer: Callable[..., Trainer],
    make_checkpoint: Callable[..., Checkpoint],
    extra: dict[str, Any],
) -> None:
    start = make_checkpoint(**extra)
    everything = masks.ones_like(masks.prunable(start))
    plain = trainer(start=start)
    free = trainer(start=start, keep=everything, patches=Patches(torch.ones(100, 16).bool()))
    assert curve(plain.epochs(2)) == curve(free.epochs(2))
    assert same(bits(plain), bits(free))


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(
    trainer: Callable[..., Trainer],
) -> None:
    runs = {}
    for number, (name, seed) in enumerate((("first", 0), ("again", 0), ("other", 1))):
        torch.manual_seed(number)  # the global state must not matter
        made = trainer(seed=seed)
        runs[name] = (curve(made.epochs(2)), bits(made))
    assert runs["first"][0] == runs["again"][0]
    assert same(runs["first"][1], runs["again"][1])
    assert not same(runs["first"][1], runs["other"][1])


def test_training_leaves_the_global_random_state_alone(trainer: Callable[..., Trainer]) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    trainer().steps(2)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("run", ["epochs", "steps"])
def test_a_loss_that_is_not_finite_says_what_to_lower(
    trainer: Callable[..., Trainer], checkpoint: Checkpoint, run: str
) -> None:
    state = checkpoint.state | {"head.bias": torch.full((10,), float("nan"))}
    made = trainer(start=Checkpoint(checkpoint.arch, state))
    with pytest.raises(StageInputError, match=r"loss became nan in epoch 1: lower `lr`"):
        getattr(made, run)(2)


def test_flipped_images_train_on_the_mirrored_ticket(
    trainer: Callable[..., Trainer], ticket: Tensor, inputs: Tensor, steps: list[Step]
) -> None:
    cfg = RECIPE.model_copy(update={"flip": True})
    trainer(cfg, patches=Patches(ticket)).epochs(1)
    plain = tickets.indices(ticket)
    mirrored = tickets.flip(plain, 4)
    turned = 0
    for step in steps:
        straight, flipped = places(step.x, inputs), places(step.x, inputs.flip(-1))
        assert step.kept is not None
        for row, a, b in zip(step.kept, straight, flipped, strict=True):
            expected = plain[a] if a >= 0 else mirrored[b]
            assert torch.equal(row, expected)
            turned += a < 0
    assert 25 < turned < 75
    assert not torch.equal(plain, mirrored)


def test_without_flip_every_image_keeps_its_own_ticket(
    trainer: Callable[..., Trainer], ticket: Tensor, inputs: Tensor, steps: list[Step]
) -> None:
    trainer(patches=Patches(ticket)).epochs(1)
    plain, seen = tickets.indices(ticket), []
    for step in steps:
        which = places(step.x, inputs)
        assert step.kept is not None
        assert torch.equal(step.kept, plain[which])
        seen += which
    assert sorted(seen) == list(range(100)), "an epoch sees every image once"


def test_random_patches_are_fresh_every_step_and_equal_in_number(
    trainer: Callable[..., Trainer], ticket: Tensor, inputs: Tensor, steps: list[Step]
) -> None:
    trainer(patches=Patches(ticket, random=True)).epochs(2)
    drawn: dict[int, list[Tensor]] = {}
    for step in steps:
        assert step.kept is not None
        assert step.kept.shape[1] == 10
        for image, row in zip(places(step.x, inputs), step.kept, strict=True):
            drawn.setdefault(image, []).append(row)
    full = [step.kept.tolist() for step in steps if step.kept is not None and len(step.x) == 32]
    assert len(full) == 6
    assert all(a != b for a, b in itertools.combinations(full, 2)), "two steps drew the same"
    assert all(len(rows) == 2 for rows in drawn.values())
    assert sum(torch.equal(*rows) for rows in drawn.values()) < 5
    assert sum(torch.equal(rows[0], drawn[0][0]) for rows in drawn.values()) < 5


def test_a_subset_trains_on_its_own_images_and_their_tickets(
    trainer: Callable[..., Trainer], ticket: Tensor, inputs: Tensor, steps: list[Step]
) -> None:
    subset = torch.tensor([3, 14, 15, 92, 65])
    trainer(patches=Patches(ticket), subset=subset).steps(3)
    plain = tickets.indices(ticket)
    for step in steps:
        which = places(step.x, inputs)
        assert sorted(which) == sorted(subset.tolist())
        assert step.kept is not None
        assert torch.equal(step.kept, plain[which])
    assert len(steps) == 3


@pytest.mark.parametrize("count", [0, 1, 4, 7])
def test_steps_makes_exactly_that_many(
    trainer: Callable[..., Trainer], steps: list[Step], count: int
) -> None:
    made, before = trainer(), bits(trainer())
    made.steps(count)
    assert len(steps) == count
    assert same(bits(made), before) == (count == 0)


def test_the_loss_of_steps_is_the_mean_over_steps_and_not_over_epochs(
    trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last epoch may be begun only: it counts by the steps that it has."""
    seen: list[float] = []
    real = Trainer._step

    def step(made: Trainer, *given: Any) -> tuple[Tensor, Tensor | None]:
        found = real(made, *given)
        seen.append(float(found[0]))
        return found

    monkeypatch.setattr(Trainer, "_step", step)
    made = trainer(subset=torch.arange(64))  # two full batches an epoch
    found = made.steps(5)
    assert len(seen) == 5
    epochs = [(seen[0] + seen[1]) / 2, (seen[2] + seen[3]) / 2, seen[4]]
    assert abs(sum(epochs) / 3 - sum(seen) / 5) > 1e-3, "else this test shows nothing"
    assert found == pytest.approx(sum(seen) / 5, rel=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_distillation_mixes_cross_entropy_with_the_divergence_from_the_teacher(
    trainer: Callable[..., Trainer],
    make_checkpoint: Callable[..., Checkpoint],
    checkpoint: Checkpoint,
    inputs: Tensor,
    small: Dataset,
    share: float,
    cpu: torch.device,
) -> None:
    teacher = Model.of(make_checkpoint(seed=1), cpu)
    with torch.no_grad():
        own, target = (m(inputs).log_softmax(-1) for m in (Model.of(checkpoint, cpu), teacher))
    entropy = F.nll_loss(own, torch.tensor(small.train.labels))
    divergence = (target.exp() * (target - own)).sum(1).mean()
    cfg = RECIPE.model_copy(update={"batch_size": 100})
    loss = trainer(cfg, teacher=teacher, distill=share).steps(1)
    assert loss == pytest.approx(float((1 - share) * entropy + share * divergence), rel=1e-5)
    assert divergence > 0.01


def test_the_teacher_is_not_trained(
    trainer: Callable[..., Trainer], make_checkpoint: Callable[..., Checkpoint], cpu: torch.device
) -> None:
    start = make_checkpoint(seed=1)
    teacher = Model.of(start, cpu)
    trainer(teacher=teacher, distill=0.5).steps(2)
    assert same(dict(teacher.module.state_dict()), start.state)
    assert all(p.grad is None for p in teacher.module.parameters())


def recorded(run: Callable[[], object], what: Callable[[Any], float]) -> list[float]:
    """One number per optimizer step, read just before the step."""
    seen: list[float] = []
    handle = register_optimizer_step_pre_hook(
        lambda optimizer, args, kwargs: seen.append(what(optimizer))
    )
    run()
    handle.remove()
    return seen


@pytest.mark.parametrize(
    ("schedule", "warm", "expected"),
    [
        ("linear", 0, [1, 0.75, 0.5, 0.25]),
        ("constant", 0, [1, 1, 1, 1]),
        ("cosine", 0, [1, 0.8535533905932737, 0.5, 0.14644660940672627]),
        ("linear", 2, [0.5, 1, 1, 0.5]),
    ],
)
def test_the_learning_rate_follows_its_schedule_over_all_epochs(
    trainer: Callable[..., Trainer], schedule: str, warm: int, expected: list[float]
) -> None:
    changes = {"schedule": schedule, "warmup_steps": warm, "batch_size": 50, "lr": 1e-3}
    made = trainer(RECIPE.model_copy(update=changes))
    rates = recorded(lambda: made.epochs(2), lambda optimizer: optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-3 * factor for factor in expected])


def test_the_gradient_is_clipped_before_the_step(trainer: Callable[..., Trainer]) -> None:
    def norm(optimizer: Any) -> float:
        grads = [p.grad for group in optimizer.param_groups for p in group["params"]]
        return float(torch.cat([g.flatten() for g in grads]).norm())

    free = recorded(lambda: trainer().steps(2), norm)
    cfg = RECIPE.model_copy(update={"grad_clip": 0.01})
    clipped = recorded(lambda: trainer(cfg).steps(2), norm)
    assert min(free) > 0.02
    assert max(clipped) == pytest.approx(0.01, rel=1e-3)


def test_weight_decay_spares_biases_and_norms(trainer: Callable[..., Trainer]) -> None:
    groups: list[tuple[float, set[bool]]] = []

    def look(optimizer: Any) -> float:
        for group in optimizer.param_groups:
            groups.append((group["weight_decay"], {p.ndim >= 2 for p in group["params"]}))
        return 0.0

    recorded(lambda: trainer().steps(1), look)
    assert groups == [(0.1, {True}), (0.0, {False})]


def test_bfloat16_trains_and_keeps_masked_weights_at_zero(
    trainer: Callable[..., Trainer], half: KeepMask
) -> None:
    made = trainer(RECIPE.model_copy(update={"precision": "bfloat16"}), keep=half)
    loss = made.steps(2)
    assert loss == pytest.approx(trainer(keep=half).steps(2), rel=0.05)
    state = bits(made)
    assert not any(state[name][~keep].any() for name, keep in half.items())
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}


def test_training_learns(trainer: Callable[..., Trainer]) -> None:
    history = trainer(RECIPE.model_copy(update={"schedule": "constant"})).epochs(12)
    assert history[-1].train_loss < 0.5 * history[0].train_loss


def test_online_selection_scores_the_augmented_batch_with_weights_that_stay(
    trainer: Callable[..., Trainer],
    make_checkpoint: Callable[..., Checkpoint],
    ticket: Tensor,
    inputs: Tensor,
    steps: list[Step],
    cpu: torch.device,
) -> None:
    start = make_checkpoint(seed=1)
    scorer = Model.of(start, cpu)
    score = partial(score_images, AttentionConfig(), scorer)
    cfg = RECIPE.model_copy(update={"flip": True, "crop": 2})
    trainer(cfg, patches=Patches(ticket, scorer=score)).epochs(2)
    for step in steps:
        assert step.kept is not None
        expected = tickets.select_patches(score(step.x), 10)
        assert torch.equal(step.kept, tickets.indices(expected))
    assert len({tuple(step.x[0].flatten().tolist()) for step in steps}) == len(steps)
    assert -1 in places(steps[0].x, torch.cat([inputs, inputs.flip(-1)])), "nothing was cropped"
    assert same(dict(scorer.module.state_dict()), start.state)
    assert not score(inputs).requires_grad


def test_static_tickets_refuse_a_crop(trainer: Callable[..., Trainer], ticket: Tensor) -> None:
    cfg = RECIPE.model_copy(update={"crop": 1})
    with pytest.raises(StageInputError, match=r"finetune\.crop = 1 moves the pixels"):
        trainer(cfg, patches=Patches(ticket))
    trainer(cfg).steps(1)


def test_tickets_of_different_counts_train_and_are_evaluated_image_by_image(
    trainer: Callable[..., Trainer], small: Dataset, ctx: Context, steps: list[Step]
) -> None:
    counts = torch.arange(100) % 16 + 1
    keep = tickets.random_patches(100, 16, counts, torch.Generator().manual_seed(0))
    made = trainer(RECIPE.model_copy(update={"flip": True}), patches=Patches(keep))
    made.epochs(1)
    seen = torch.cat([(step.kept != tickets.PAD).sum(1) for step in steps if step.kept is not None])
    assert torch.equal(seen.sort().values, counts.sort().values)
    found = evaluate(made.model, small, "train", ctx, keep)
    images, labels = small.on(ctx.device, "train")
    loss = 0.0
    for i in range(100):
        x = made.model.inputs(images[i : i + 1])
        with torch.no_grad():
            logits = forward(made.model.module, x, tickets.indices(keep[i : i + 1]))
        loss += float(F.cross_entropy(logits, labels[i : i + 1])) / 100
    assert found.loss == pytest.approx(loss, rel=1e-5)
