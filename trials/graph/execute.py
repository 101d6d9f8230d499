"""Running a graph of stages in memory: the pipeline without Ray, MLflow or a store."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from trials.config import TrialConfig
from trials.context import Context
from trials.cores import usable_cores
from trials.graph.fitting import plainly, require
from trials.graph.pipeline import TrialGraph, pipeline
from trials.graph.schedule import require_steps
from trials.graph.sources import open_sources
from trials.lazy import torch
from trials.seeding import repeatable
from trials.stage import Node, Source
from trials.training.finite import check_finite

R = TypeVar("R")


def call(
    node: Node[R],
    ctx: Context,
    sources: Mapping[Source, object],
    resolve: Callable[[Node[Any]], Any],
) -> R:
    """Run one stage now: look its sources up, get its inputs from `resolve`.

    On a CPU only algorithms run that give the same bits again.

    Raises:
        StageInputError: the stage's inputs do not fit, or a number of its result is not finite.
    """

    def value(given: Any) -> Any:
        if isinstance(given, Node):
            return resolve(given)
        if isinstance(given, tuple):
            return tuple(resolve(one) for one in given)
        return sources[given] if isinstance(given, Source) else given

    inputs = {name: value(given) for name, given in node.inputs.items()}
    if node.stage.seeded:
        inputs["seed"] = node.seed
    with repeatable(ctx.device):
        result = node.stage(node.config, ctx, **inputs)
    check_finite(result, node.stage.name)
    return result


@dataclass(slots=True)
class Direct:
    """Computes every node once and remembers it."""

    sources: Mapping[Source, object]
    ctx: Context = field(default_factory=Context)
    _done: dict[int, tuple[Node[Any], Any]] = field(default_factory=dict)

    def get(self, node: Node[R]) -> R:
        """The result of a node, computing what it needs first."""
        if id(node) not in self._done:
            self._done[id(node)] = (node, call(node, self.ctx, self.sources, self.get))
        return self._done[id(node)][1]  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class TrialResult:
    """A finished trial: its graph and the result of every stage, by name."""

    graph: TrialGraph
    results: dict[str, Any]


def run_trial(trial: TrialConfig, ctx: Context | None = None) -> TrialResult:
    """The full LOTUS pipeline of one trial, in this process.

    >>> trial = TrialConfig(data={"name": "digits"}, model={...})      # doctest: +SKIP
    >>> run_trial(trial).results["final"].test.accuracy                # doctest: +SKIP

    Raises:
        DataError, ModelError: data, model or weights cannot be used, or settings do not fit them.
        StageInputError: the rounds of ISSP train for so long that the recovery has no step.
    """
    trial = plainly(trial)
    # torch takes all cores of the machine, of which a container may use a few.
    torch.set_num_threads(max(1, min(torch.get_num_threads(), math.ceil(usable_cores()))))
    opened = open_sources(trial.data, trial.model)
    require(trial.resolved(), opened.sources.counts)
    require_steps(trial.resolved(), opened.sources.counts)
    graph = pipeline(trial, opened.sources)
    direct = Direct(opened.objects(), ctx or Context())
    return TrialResult(graph, {name: direct.get(node) for name, node in graph.stages().items()})
