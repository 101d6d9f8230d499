"""Two trials on a node hold one copy of the data: measured as the kernel counts shared pages."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from orchestrator.driver.cluster import place_sources
from trials.config import TrialConfig
from trials.data.config import DataConfig
from trials.graph.sources import Opened, open_sources

pytestmark = pytest.mark.slow

SIDE, COUNT = 96, 4_000

WHOLE = (COUNT, 3, SIDE, SIDE)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """A folder of noise: 111 MB once it is decoded."""
    root = tmp_path_factory.mktemp("noise")
    draw = np.random.default_rng(0)
    for label in ("a", "b"):
        (root / label).mkdir()
        for number in range(COUNT // 2):
            pixels = draw.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number}.ppm")
    trial = TrialConfig.model_validate(
        {
            "data": {"name": "imagefolder", "root": root},
            "model": {"name": "vit_tiny_patch16_224", "pretrained": False},
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        found = open_sources(trial.data, trial.model)
        found.dataset.prepare()
        found.dataset.train.images[:1]  # type: ignore[union-attr]
    assert isinstance(trial.data, DataConfig)
    return found


def processes() -> Any:
    """Two processes that hold a data set as a worker does."""
    import ray

    @ray.remote(num_cpus=0.5)
    class Process:
        def __init__(self) -> None:
            import torch

            from orchestrator.worker import runner

            self.torch, self.fetched = torch, runner._fetched
            self.before = self.pss()

        def hold(self, box: list[Any], folder: str) -> int:
            """Read every byte of the training images."""
            import os

            os.environ["XDG_CACHE_HOME"] = folder
            self.dataset = self.fetched(*box).dataset
            self.images, _ = self.dataset.on(self.torch.device("cpu"), "train")
            count = len(self.images)
            # By numpy: torch would make a larger copy of each batch to add it up.
            parts = (self.images[i : i + 10].numpy() for i in range(0, count, 10))
            return sum(int(part.sum(dtype="int64")) for part in parts)

        def pss(self) -> int:
            """Bytes of memory, pages that n processes share counted as one n-th."""
            text = Path("/proc/self/smaps_rollup").read_text("ascii")
            (line,) = [one for one in text.splitlines() if one.startswith("Pss:")]
            return 1024 * int(line.split()[1])

        def grown(self) -> int:
            return self.pss() - self.before

    return [Process.remote() for _ in range(2)]


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("limit", [math.inf, 0], ids=["in memory", "in a file"])
def test_two_trials_on_a_node_hold_one_copy(opened: Opened, limit: float) -> None:
    import ray

    dataset = replace(opened.dataset, limit_bytes=limit, _placed={})
    # In a file, pages beside those that are asked for are mapped as well.
    size = dataset.train.images.nbytes if limit else math.prod(WHOLE)
    folder = str(opened.dataset.train.images.whole._folder().parents[2])  # type: ignore[union-attr]
    (box,) = place_sources(SimpleNamespace(opened={"x": replace(opened, dataset=dataset)})).values()
    both = processes()
    try:
        first, second = ray.get([one.hold.remote(box, folder) for one in both])
        assert first == second > 0
        grown = sum(ray.get([one.grown.remote() for one in both]))
    finally:
        for one in both:
            ray.kill(one)
    print(f"{size / 2**20:.1f} MiB of images, two processes grew by {grown / 2**20:.1f} MiB")
    assert grown < 1.5 * size, "two copies would be twice their size"
