"""The size of a pass: the fastest that changes no bit, measured once, where that is worth it."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trials.helpers import same
from trials.context import Context
from trials.data.datasets import Dataset, Split
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.tokens import tickets
from trials.training import evaluation, pace
from trials.training.evaluation import evaluate


@pytest.fixture(autouse=True)
def _nothing_is_known() -> Iterator[None]:
    pace._KNOWN.clear()
    yield
    pace._KNOWN.clear()


def machine(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], odd: tuple[int, ...] = ()
) -> Callable[[int], Tensor]:
    """A pass of each size takes so long; the logits of some sizes differ in the last bit."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def run(size: int) -> Tensor:
        now[0] += seconds[size]
        return torch.full((2,), 1.0 + (2.0**-23 if size in odd else 0.0))

    return run


@pytest.mark.parametrize(
    ("seconds", "odd", "best"),
    [
        ({16: 3, 64: 2, 512: 2.5}, (), 64),
        ({16: 1, 64: 2, 512: 2.5}, (), 16),
        ({16: 3, 64: 3, 512: 2.5}, (), 512),
        ({16: 1, 64: 2, 512: 2.5}, (16,), 64),
        ({16: 1, 64: 2, 512: 2.5}, (16, 64), 512),
    ],
)
def test_the_fastest_size_counts_that_gives_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], odd: tuple[int, ...], best: int
) -> None:
    run = machine(monkeypatch, seconds, odd)
    assert pace.images_at_once("model", 512, run, ahead=pace.WORTH) == best
    other = machine(monkeypatch, dict.fromkeys(seconds, 1.0))
    assert pace.images_at_once("model", 512, other, ahead=1) == best, "it is not measured again"


def test_a_few_images_are_not_worth_a_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    run = machine(monkeypatch, {16: 1, 64: 2, 512: 2.5})
    assert pace.images_at_once("model", 512, run, ahead=pace.WORTH - 1) == 512
    assert pace.images_at_once("model", 512, run, ahead=pace.WORTH) == 16


@pytest.mark.parametrize("size", [16, 64, 512])
@pytest.mark.parametrize("padded", [None, False, True])
def test_no_size_changes_a_bit_of_an_evaluation(
    checkpoint: Checkpoint,
    cpu: torch.device,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    padded: bool | None,
) -> None:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (700, 1, 8, 8), dtype=np.uint8)
    many = Split(images, draw.integers(0, 10, 700))
    data, model = Dataset("noise", "0" * 64, 10, many, many, many), Model.of(checkpoint, cpu)
    counts = torch.arange(700) % 16 + 1 if padded else 9
    keep = tickets.random_patches(700, 16, counts, torch.Generator().manual_seed(0))
    given = None if padded is None else keep
    monkeypatch.setattr(evaluation, "EVAL_BATCH", 128)
    whole = evaluate(model, data, "test", Context(), given)
    monkeypatch.setattr(pace, "_measured", lambda most, run: min(size, most))
    pace._KNOWN.clear()
    assert same(evaluate(model, data, "test", Context(), given), whole)
    assert len(pace._KNOWN) >= 1
