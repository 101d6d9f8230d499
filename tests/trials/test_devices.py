"""Every stage on a GPU that is not there: the CPU's bits, and a host that never waits in a step."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.trials.fake_gpu import FakeGpu, Note, device
from tests.trials.helpers import curve, same
from trials import run_trial
from trials.config import TrialConfig
from trials.context import Context
from trials.data.datasets import Dataset
from trials.errors import StageInputError
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.sparsity.masks import KeepMask
from trials.stage import STAGES
from trials.stages.attention import AttentionConfig, score_images
from trials.tokens import tickets
from trials.tokens.kept import Removal
from trials.tokens.patches import Patches
from trials.training import batches
from trials.training.batches import Batch, Batches
from trials.training.recipe import TrainConfig
from trials.training.train import Trainer


@pytest.fixture
def gpu() -> Iterator[FakeGpu]:
    """Both devices compute attention by plain products: the CPU's own kernel is of no GPU."""
    with sdpa_kernel(SDPBackend.MATH), FakeGpu() as made:
        yield made


FINETUNE = {"epochs": 1, "lr": 1e-3, "batch_size": 32, "weights": "current"}
SOUP = {"ingredients": 2, "steps": 1, "lr": 1e-3, "batch_size": 32}

TRIALS: dict[str, dict[str, Any]] = {
    "static": {},
    "flipped": {"finetune": FINETUNE | {"flip": True, "distill": 0.5, "grad_clip": 0.5}},
    "global": {"tickets": {"scope": "global", "score": "rollout"}},
    "online": {
        "tickets": {"selection": "online"},
        "finetune": FINETUNE | {"flip": True, "crop": 1, "label_smoothing": 0.1},
    },
    "random": {"arm": "random_patches", "finetune": FINETUNE | {"crop": 1}},
    "random_fixed": {"tickets": {"select": "random_fixed", "scope": "global"}},
    "zero": {"tickets": {"removal": "zero", "score": "received"}},
    "mean": {"tickets": {"removal": "mean", "sink": "outlier_mean", "scope": "global"}},
    "attention_mask": {"tickets": {"removal": "attention_mask"}},
    "wanda": {"essential": {"criterion": "wanda", "calibration_images": 40}},
    "sparsegpt": {"essential": {"criterion": "sparsegpt", "calibration_images": 40}},
    "snip": {"essential": {"criterion": "snip", "calibration_images": 40}},
    "lamp": {"essential": {"criterion": "lamp", "scope": "global"}},
    "auto": {
        "sparsity": "auto",
        "essential": {"levels": (0.2, 0.4), "refine": 0.1, "evaluate": "after_finetune"},
    },
    "progressive": {"issp": SOUP | {"rounds": 2, "round_training": "progressive"}},
    "rungs": {"rungs": (1,)},
    "isp as published": {
        "arm": "issp",
        "issp": {"preset": "isp_published_votes", "ingredients": 2, "steps": 1},
        "finetune": FINETUNE | {"epochs": 4},
    },
    "es as published": {
        "arm": "essential",
        "sparsity": 0.2,
        "essential": {"preset": "es_published", "levels": (0.0, 0.2)},
    },
    "evit": {"reduction": {"method": "evit", "keep": 0.6, "shrink_epochs": 1}},
    "tome": {"arm": "reduced", "reduction": {"method": "tome", "r": 3}},
    "random tokens": {"arm": "reduced", "reduction": {"method": "random", "keep": 0.6}},
    "dynamicvit": {"reduction": {"method": "dynamicvit", "keep": 0.8}},
}
"""Settings that together run every stage, every criterion that computes, and every removal.

Not bfloat16: torch lets no device in Python say which operations it casts."""


@pytest.fixture
def trial(tiny_trial: Callable[..., TrialConfig]) -> Callable[[str], TrialConfig]:
    def make(name: str) -> TrialConfig:
        base = {
            "data": {"name": "digits", "validation": 40, "train_images": 60, "test_images": 40},
            "dense": {"epochs": 1, "batch_size": 32},
            "issp": SOUP,
            "finetune": FINETUNE,
            "mask_data_fraction": 0.5,
        }
        return tiny_trial(**base | TRIALS[name])

    return make


@pytest.mark.slow
@pytest.mark.parametrize("name", TRIALS)
def test_every_stage_gives_the_bits_of_the_cpu_and_no_float64_on_the_device(
    trial: Callable[[str], TrialConfig], gpu: FakeGpu, name: str
) -> None:
    there = run_trial(trial(name), Context(device())).results
    assert not gpu.doubles
    # Merging tokens adds by a product instead where a GPU has to be deterministic.
    merging = {"index_add"} if name == "tome" else set()
    assert {note.what.rstrip("_") for note in gpu.unstable} <= {"scatter_add"} | merging
    assert gpu.waits, "nothing came back from the device"
    here = run_trial(trial(name)).results
    assert list(there) == list(here)
    for stage, result in here.items():
        assert same(there[stage], result), stage


def test_the_settings_together_run_every_stage(trial: Callable[[str], TrialConfig]) -> None:
    from trials.graph.pipeline import pipeline
    from trials.graph.sources import open_sources
    from trials.stage import closure

    found = set()
    for name in TRIALS:
        made = trial(name)
        graph = pipeline(made, open_sources(made.data, made.model).sources)
        found |= {node.stage.name for node in closure(graph.final)}
    assert found == set(STAGES)


@pytest.fixture
def loops(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Names what is noted between the first draw of an epoch and the end of its last step."""
    real, lengths = Batches.of, []

    def of(made: Batches, *given: Any) -> Iterator[Batch]:
        with gpu.during("loop"):
            for batch in real(made, *given):
                lengths.append(len(batch))
                yield batch

    monkeypatch.setattr(Batches, "of", of)
    return lengths


Make = Callable[..., Trainer]


@pytest.fixture
def trainer(small: Dataset, checkpoint: Checkpoint) -> Make:
    """A trainer on a device; keyword arguments replace its own."""

    def make(ctx: Context, cfg: TrainConfig, **more: Any) -> Trainer:
        own = Dataset("made-up", small.digest, 10, small.train, small.validation, small.test)
        return Trainer(Model.of(checkpoint, ctx.device), own, cfg, ctx, 0, **more)

    return make


KINDS = ["all", "static", "padded", "random", "random padded", "online", "online padded", "lowest"]


def patches(
    kind: str, removal: Removal, ticket: Tensor, scorer: Checkpoint, ctx: Context
) -> Patches | None:
    if kind == "all":
        return None
    uneven = tickets.random_patches(
        100, 16, torch.arange(100) % 16 + 1, torch.Generator().manual_seed(0)
    )
    keep = uneven if "padded" in kind else ticket
    model = Model.of(scorer, ctx.device)
    score = partial(score_images, AttentionConfig(), model, at_once=ctx.micro_batch)
    online = "online" in kind or kind == "lowest"
    return Patches(
        keep,
        removal,
        random="random" in kind,
        scorer=score if online else None,
        lowest=kind == "lowest",
    )


RECIPES: list[dict[str, Any]] = [
    {"flip": True, "crop": 1},
    {"grad_clip": 0.01, "label_smoothing": 0.1, "warmup_steps": 2},
    {"flip": True, "schedule": "cosine"},
]
EXTRAS: list[dict[str, Any]] = [
    {"masked": True, "subset": torch.arange(0, 100, 2)},
    {"distill": 0.5},
    {"masked": True, "micro_batch": 7},
    {"masked": True, "distill": 1.0, "micro_batch": 9},
]
REMOVALS: list[Removal] = ["gather", "zero", "mean", "attention_mask"]
CASES = list(itertools.product(KINDS, REMOVALS))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "removal"), CASES, ids=["-".join(case) for case in CASES])
def test_no_step_makes_the_host_wait(
    trainer: Make,
    make_checkpoint: Callable[..., Checkpoint],
    ticket: Tensor,
    half: KeepMask,
    gpu: FakeGpu,
    loops: list[int],
    kind: str,
    removal: Removal,
) -> None:
    """All kinds of tickets, with masks, both losses, clipping, a subset and micro-batches."""
    number = CASES.index((kind, removal))
    recipe, more = RECIPES[number % len(RECIPES)], EXTRAS[number % len(EXTRAS)]
    grid = kind in ("static", "padded")  # a crop breaks the grid of tickets
    cfg = TrainConfig.model_validate(
        {"lr": 1e-3, "batch_size": 32} | recipe | ({"crop": 0} if grid else {})
    )
    found = []
    for where in (device(), torch.device("cpu")):
        ctx = Context(where, micro_batch=more.get("micro_batch"))
        own: dict[str, Any] = {"subset": more.get("subset"), "distill": more.get("distill", 0.0)}
        own["keep"] = half if more.get("masked") else None
        own["teacher"] = Model.of(make_checkpoint(seed=2), where) if own["distill"] else None
        own["patches"] = patches(kind, removal, ticket, make_checkpoint(seed=1), ctx)
        made = trainer(ctx, cfg, **own)
        history = curve(made.epochs(1))
        state = {n: t.detach().cpu() for n, t in made.model.module.state_dict().items()}
        found.append((history, state))
    assert same(found[0], found[1])
    assert [note for note in gpu.waits if note.phase == "loop"] == []
    assert not gpu.doubles
    assert len(loops) >= 4


def test_how_often_the_host_waits_does_not_depend_on_the_number_of_steps(
    trainer: Make, gpu: FakeGpu
) -> None:
    found: list[dict[Note, int]] = []
    for size in (50, 5):
        gpu.waits.clear()
        trainer(Context(device()), TrainConfig(batch_size=size, flip=True)).epochs(1)
        found.append(dict(gpu.waits))
    assert found[0] == found[1]


def test_draws_are_sent_in_parts_where_an_epoch_has_too_many(
    trainer: Make,
    ticket: Tensor,
    gpu: FakeGpu,
    loops: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same batches, the same bits."""
    cfg = TrainConfig(lr=1e-3, batch_size=16, flip=True)
    found = []
    for size in (batches.AT_ONCE_BYTES, 1, 16 * 16 * 16 * 3):
        monkeypatch.setattr(batches, "AT_ONCE_BYTES", size)
        made = trainer(Context(device()), cfg, patches=Patches(ticket, random=True))
        found.append(curve(made.epochs(2)))
    assert found[0] == found[1] == found[2]
    assert not [note for note in gpu.waits if note.phase == "loop"]
    assert loops == [16, 16, 16, 16, 16, 16, 4] * 6


def test_a_scorer_that_has_diverged_is_named_when_the_epoch_ends(
    trainer: Make, make_checkpoint: Callable[..., Checkpoint], ticket: Tensor, gpu: FakeGpu
) -> None:
    start = make_checkpoint(seed=1)
    broken = Checkpoint(
        start.arch, start.state | {"cls_token": torch.full((1, 1, 32), float("nan"))}
    )
    for where in (device(), torch.device("cpu")):
        ctx = Context(where)
        score = partial(score_images, AttentionConfig(), Model.of(broken, where))
        made = trainer(ctx, TrainConfig(batch_size=50), patches=Patches(ticket, scorer=score))
        with pytest.raises(StageInputError, match="attention scores hold NaN"):
            made.epochs(1)
