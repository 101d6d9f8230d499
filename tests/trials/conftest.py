"""A tiny random vision transformer, digits, and a small made-up data set.

Nothing that was measured comes from here: the random model has learned nothing.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trials import models
from trials.config import TrialConfig
from trials.context import Context, Outcomes
from trials.data import datasets as data
from trials.data.config import DataConfig
from trials.data.datasets import Dataset, Split
from trials.model import vit
from trials.model.module import Model
from trials.model.vit import Checkpoint, ModelConfig
from trials.sparsity.masks import KeepMask, keep_count, prunable, size, top_k
from trials.stages.dense import Dense
from trials.stages.pretrained import Pretrained
from trials.tokens import tickets
from trials.training.recipe import TrainConfig
from trials.training.train import Trainer

NAME = "vit_tiny_patch16_224"
TINY = {"img_size": 8, "patch_size": 2, "in_chans": 1, "embed_dim": 32, "depth": 2, "num_heads": 2}
WEIGHTS = Path(__file__).parents[3] / "shared" / "data" / "vit-cifar10-d128" / "model.safetensors"

KINDS: dict[str, dict[str, Any]] = {
    "cls": {},
    "avg-without-cls": {"global_pool": "avg", "class_token": False},
    "avg-with-cls": {"global_pool": "avg"},
    "registers": {"reg_tokens": 3},
    "qk-norm": {"qk_norm": True},
    "no-embed-class": {"no_embed_class": True},
}


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Tiny tensors: more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def cpu() -> torch.device:
    return torch.device("cpu")


@pytest.fixture(scope="session")
def ctx() -> Context:
    return Context()


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., ModelConfig]:
    """The tiny model's section; keyword arguments go to timm."""

    def make(**extra: Any) -> ModelConfig:
        return ModelConfig(name=NAME, pretrained=False, kwargs=TINY | extra)

    return make


@pytest.fixture(scope="session")
def make_checkpoint(tiny_model: Callable[..., ModelConfig]) -> Callable[..., Checkpoint]:
    """A tiny random model; keyword arguments go to timm."""
    made: dict[str, Checkpoint] = {}

    def make(seed: int = 0, **extra: Any) -> Checkpoint:
        key = json.dumps([seed, extra], sort_keys=True)
        if key not in made:
            drawn = vit.create(tiny_model(**extra), classes=10, channels=1, seed=seed)
            # timm draws class token, position embedding and head too small to tell apart.
            noise = torch.Generator().manual_seed(seed)
            state = {
                n: t + 0.2 * torch.randn(t.shape, generator=noise) for n, t in drawn.state.items()
            }
            made[key] = Checkpoint(drawn.arch, state)
        return made[key]

    return make


@pytest.fixture(scope="session")
def checkpoint(make_checkpoint: Callable[..., Checkpoint]) -> Checkpoint:
    return make_checkpoint()


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def kind(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.param
    return found


@pytest.fixture
def model(make_checkpoint: Callable[..., Checkpoint], cpu: torch.device) -> Callable[..., Any]:
    return lambda **extra: Model.of(make_checkpoint(**extra), cpu).module


@pytest.fixture(scope="session")
def made(cpu: torch.device) -> models.Make:
    """A fresh model of a kind of `tests.trials.models`."""
    drawn: dict[str, Checkpoint] = {}

    def make(name: str, **extra: Any) -> Model:
        key = json.dumps([name, extra], sort_keys=True)
        if key not in drawn:
            drawn[key] = models.drawn(name, **extra)
        return Model.of(drawn[key], cpu)

    return make


@pytest.fixture(scope="session")
def x() -> Tensor:
    return torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def half(checkpoint: Checkpoint) -> KeepMask:
    """The magnitude mask of the tiny model at one half."""
    weights = prunable(checkpoint)
    return top_k({n: w.abs() for n, w in weights.items()}, keep_count(size(weights), 0.5))


@pytest.fixture(scope="session")
def small() -> Dataset:
    """Made-up 8 x 8 images whose class is the brightest of ten bars."""
    draw = np.random.default_rng(0)

    def split(count: int) -> Split:
        labels = np.arange(count) % 10
        images = draw.integers(0, 120, (count, 1, 8, 8), dtype=np.uint8)
        for i, label in enumerate(labels):
            images[i, 0, label % 8, (label // 8) * 4 : (label // 8) * 4 + 4] += 120
        return Split(images, labels.astype(np.int64))

    return Dataset("made-up", "0" * 64, 10, split(100), split(40), split(40))


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return data.load(DataConfig(name="digits"))


@pytest.fixture
def pretrained(checkpoint: Checkpoint) -> Pretrained:
    return Pretrained(checkpoint)


@pytest.fixture
def dense(make_checkpoint: Callable[..., Checkpoint]) -> Dense:
    """Other weights than `pretrained`, as if they had been adapted."""
    nothing = Outcomes(torch.zeros(40, dtype=torch.bool), 0.0)
    return Dense(make_checkpoint(seed=1), (), nothing, nothing)


RECIPE = TrainConfig(lr=3e-3, batch_size=32, weight_decay=0.1)


@pytest.fixture
def trainer(small: Dataset, checkpoint: Checkpoint, ctx: Context) -> Callable[..., Trainer]:
    """A trainer of the tiny model on the small data; keyword arguments replace its own."""

    def make(cfg: TrainConfig = RECIPE, start: Checkpoint = checkpoint, **more: Any) -> Trainer:
        settings = {"ctx": ctx, "seed": 0, "data": small} | more
        return Trainer(Model.of(start, torch.device("cpu")), cfg=cfg, **settings)

    return make


@pytest.fixture(scope="session")
def ticket(small: Dataset) -> Tensor:
    """Ten of the 16 patches of every training image of `small`."""
    count = len(small.train)
    return tickets.random_patches(count, 16, 10, torch.Generator().manual_seed(0))


class Memory:
    """Snapshots that are kept as a store would: copies, and values that went through JSON.

    Tensors come back in the order of their names, as from a safetensors file.

    Attributes:
        dies_after: the save after which the process dies; None = it does not.
    """

    def __init__(self, dies_after: int | None = None) -> None:
        self.saved: tuple[dict[str, Tensor], dict[str, Any]] | None = None
        self.saves = 0
        self.dies_after = dies_after

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        return self.saved

    def save(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        copies = {name: tensors[name].detach().clone() for name in sorted(tensors)}
        self.saved = (copies, json.loads(json.dumps(values)))
        self.saves += 1
        if self.saves == self.dies_after:
            raise KeyboardInterrupt


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture(scope="session")
def tiny_trial(tiny_model: Callable[..., ModelConfig]) -> Callable[..., TrialConfig]:
    """A trial of a few seconds; keyword arguments replace whole sections."""

    def make(**changes: Any) -> TrialConfig:
        sections: dict[str, Any] = {
            "data": {"name": "digits", "validation": 200, "train_images": 200},
            "model": tiny_model(),
            "dense": {"epochs": 2, "lr": 3e-3, "batch_size": 32},
            "issp": {"ingredients": 3, "steps": 4, "lr": 1e-3, "batch_size": 32},
            "finetune": {"epochs": 2, "lr": 1e-3, "batch_size": 32, "weights": "current"},
            "patch_drop": 0.25,
        }
        return TrialConfig.model_validate(sections | changes)

    return make


@pytest.fixture(scope="session")
def vit_weights() -> Path:
    """The real small vision transformer's weights; skips where they are absent."""
    if not WEIGHTS.is_file():
        pytest.skip(f"no weights at {WEIGHTS}: see CONTRIBUTING.md, Real data")
    return WEIGHTS
