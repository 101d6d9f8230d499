"""What a sweep will cost, before anything runs."""

from collections.abc import Callable

from orchestrator.planning.config import SweepConfig

Tiny = Callable[..., SweepConfig]

GRID = "search: {sparsity: [0.2, 0.3], patch_drop: [0.1, 0.2], arm: [lotus, dense, magnitude]}\n"
