"""A sweep on the real CIFAR-10 and the real weights: what others published holds."""

from pathlib import Path

import pytest
import torch

from orchestrator.planning.plan import plan
from orchestrator.planning.sweepfile import load_sweep
from trials.graph.execute import Direct

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
SWEEP = Path(__file__).parent / "benchmarks" / "cifar10-d128.yaml"

pytestmark = pytest.mark.slow


def test_the_given_weights_unadapted_have_their_published_accuracy() -> None:
    weights = DATA / "vit-cifar10-d128/model.safetensors"
    if not (DATA / "cifar-10-batches-py").is_dir() or not weights.exists():
        pytest.skip(f"no CIFAR-10 or no weights at {DATA}: see CONTRIBUTING.md, Real data")
    overrides = [f"data.root={DATA}", f"model.pretrained={weights}"]
    planned = plan(load_sweep(SWEEP, overrides))
    trial = planned.trials[0]
    torch.set_num_threads(2)
    dense = Direct(planned.sources_of(trial.config).objects()).get(trial.graph.dense)
    right = int(dense.validation.correct.sum()) + int(dense.test.correct.sum())
    assert len(dense.validation.correct) == len(dense.test.correct) == 5000
    # Processors add in another order: an image on the edge may fall to the other side.
    assert abs(right - 7455) <= 2, "74.55 % of the 10,000 test images, both halves together"
