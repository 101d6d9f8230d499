"""What a sweep consists of: trials and unique stages. Runs nothing."""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from orchestrator.memory import nothing_is_garbage
from orchestrator.planning.config import Points, SweepConfig
from orchestrator.planning.model_checks import check_fit, check_models
from orchestrator.planning.naming import trial_name, used_axes
from orchestrator.planning.problems import SweepError
from orchestrator.search import Outcome, Point
from orchestrator.search.methods import proposer
from orchestrator.storage.keys import canonical, key_of
from trials.config import TrialConfig
from trials.data.config import DataConfig
from trials.data.datasets import Counts, Dataset
from trials.graph.fitting import fitted, tokens_of
from trials.graph.pipeline import TrialGraph, pipeline
from trials.graph.shared import Shared
from trials.graph.sources import Opened, Sources, open_sources
from trials.model.repository import resolved
from trials.model.vit import ModelConfig
from trials.reduction.tokens import BlockTokens
from trials.stage import Node, closure

Find = Callable[[DataConfig, ModelConfig], Opened | Sources]
"""Reads data and weights, or says what is known of them without."""


@dataclass(frozen=True, slots=True)
class PlannedTrial:
    """One trial of a sweep.

    Attributes:
        key: the key of its last stage.
        axes: the axes that its arm uses, with their values.
        tokens: in attention and MLP of each block, where some leave inside; else nothing.
    """

    key: str
    name: str
    config: TrialConfig
    graph: TrialGraph
    axes: dict[str, Any]
    tokens: BlockTokens


@dataclass(frozen=True)
class Plan:
    """The trials of a sweep, as far as results say, and the stages they share.

    Attributes:
        early: trials that are worth running now but may turn out not to belong to the sweep.
        more: how many trials may still come, at most; only while not complete.
        complete: whether `trials` is all.
        images: of each test set that is read, the number of its images.
    """

    sweep: SweepConfig
    trials: tuple[PlannedTrial, ...]
    opened: dict[str, Opened] = field(repr=False)
    early: tuple[PlannedTrial, ...] = ()
    more: int = 0
    complete: bool = True
    images: tuple[int, ...] = ()

    @property
    def expected(self) -> int:
        """How many trials there are in the end, at most."""
        return len(self.trials) + self.more

    def sources_of(self, trial: TrialConfig) -> Opened:
        """The data and weights of a trial."""
        return self.opened[source_id(trial)]

    @cached_property
    def _stages(self) -> list[tuple[PlannedTrial, dict[str, Node[Any]]]]:
        """The stages of each trial by key, parents before children."""
        return [
            (trial, {key_of(node): node for node in closure(trial.graph.final)})
            for trial in self.trials
        ]

    @cached_property
    def nodes(self) -> dict[str, Node[Any]]:
        """Every unique stage by key, parents before children."""
        found: dict[str, Node[Any]] = {}
        for _, stages in self._stages:
            for key, node in stages.items():
                found.setdefault(key, node)
        return found

    @cached_property
    def users(self) -> Counter[str]:
        """In how many trials a stage occurs."""
        return Counter(itertools.chain.from_iterable(stages for _, stages in self._stages))

    @cached_property
    def shared(self) -> dict[str, Node[Any]]:
        """Stages of two trials or more: computed before the trials.

        The dense model always, and the curve of `sparsity: auto`: their runs are what shows it.
        A rung that another one continues is a trial itself.
        """
        trials = {trial.key for trial in self.trials}
        always = ("pretrained", "dense")
        return {
            key: node
            for key, node in self.nodes.items()
            if (self.users[key] > 1 or node.stage.name in always or key in self.curve)
            and key not in trials
        }

    @cached_property
    def keys(self) -> frozenset[str]:
        """Of the trials and the shared stages that belong to the sweep."""
        return frozenset(trial.key for trial in self.trials) | self.shared.keys()

    @cached_property
    def curve(self) -> dict[str, PlannedTrial]:
        """Stages that measure a level for `sparsity: auto`, with the first trial that asks."""
        found: dict[str, PlannedTrial] = {}
        for trial in self.trials:
            for node in trial.graph.curve:
                found.setdefault(key_of(node), trial)
        return found

    @cached_property
    def owner(self) -> dict[str, PlannedTrial]:
        """For each stage the first trial that has it: enough to build it again elsewhere.

        A stage on the curve of `sparsity: auto` belongs to the trial that has it there, not to
        one that has it as a control.
        """
        found: dict[str, PlannedTrial] = {}
        for trial, stages in self._stages:
            for key in stages:
                found.setdefault(key, trial)
        return found | self.curve


def source_id(trial: TrialConfig) -> str:
    """What two trials must have in common to read the same data and weights."""
    return canonical([trial.data.model_dump(mode="json"), trial.model.model_dump(mode="json")])


def plan(
    sweep: SweepConfig, outcomes: Mapping[str, Outcome] | None = None, find: Find | None = None
) -> Plan:
    """Expand a sweep; equal trials, as an arm that ignores an axis gives, are listed once.

    Args:
        outcomes: key -> how trials ended so far; methods that learn propose by them.
        find: see `Planner`.

    Raises:
        DataError, ModelError: data or weights cannot be read.
        SweepError: settings do not fit the models.
    """
    return Planner(sweep, find).plan(outcomes or {})


class Planner:
    """Expands a sweep, again whenever results have come in; what it built once is kept.

    It is the `Bench` of the search methods.

    Args:
        find: finds data and weights; default: reads them. Where it gives only what is known of
            them, as `assuming.py` does, the plan can be counted and priced, but not run.
    """

    def __init__(self, sweep: SweepConfig, find: Find | None = None) -> None:
        self.sweep, self._points = sweep, Points(sweep.base())
        self._find = find or self._read
        self._methods = [proposer(block, sweep.finetune.epochs) for block in sweep.search]
        self._opened: dict[str, Opened] = {}
        self._datasets: dict[DataConfig, Dataset] = {}
        self._found: dict[str, Sources] = {}
        self._known: dict[tuple[int, int], Sources] = {}
        self._models: dict[int, ModelConfig] = {}
        self._trials: dict[str, PlannedTrial] = {}
        self._shared = Shared()
        self._outcomes: Mapping[str, Outcome] = {}
        self._open_all()
        self._refuse_misfits()

    def plan(self, outcomes: Mapping[str, Outcome]) -> Plan:
        """The sweep as far as these results (by key) say."""
        with nothing_is_garbage():
            return self._plan(outcomes)

    def _plan(self, outcomes: Mapping[str, Outcome]) -> Plan:
        self._outcomes = outcomes
        found = [method.propose(self) for method in self._methods]
        sure: dict[str, PlannedTrial] = {}
        early: dict[str, PlannedTrial] = {}
        for part in found:
            for trials, points in ((sure, part.points), (early, part.early)):
                for trial in map(self.trial, points):
                    trials.setdefault(trial.key, trial)
        return Plan(
            self.sweep,
            tuple(sure.values()),
            self._opened,
            early=tuple(trial for key, trial in early.items() if key not in sure),
            more=sum(part.expected - len(part.points) for part in found),
            complete=all(part.complete for part in found),
            images=tuple(sources.counts.test for sources in self._found.values()),
        )

    def key(self, point: Point) -> str:
        """The key of the trial at a point."""
        return self.trial(point).key

    def outcome(self, point: Point) -> Outcome | None:
        """How the trial at a point ended; None when it has not."""
        return self._outcomes.get(self.key(point))

    def trial(self, point: Point) -> PlannedTrial:
        """The trial at a point."""
        if point.ident not in self._trials:
            config = self._plain(self._points.trial(point.axes))
            sources = self._open(config)
            config = fitted(config, sources.counts, self._shared.part)
            if point.rungs:
                config = config.model_copy(update={"rungs": point.rungs})
            graph = pipeline(config, sources, self._shared)
            axes = used_axes(config, point.axes)
            if point.rungs:
                axes["rung"] = point.rungs[-1]
            key = key_of(graph.final)
            self._trials[point.ident] = PlannedTrial(
                key,
                trial_name(axes, key),
                config,
                graph,
                axes,
                tokens_of(config, sources.counts),
            )
        return self._trials[point.ident]

    def _plain(self, config: TrialConfig) -> TrialConfig:
        """With the folder or repository that names a model replaced by what it says."""
        known = id(config.model)  # kept alive by `_points`
        if known not in self._models:
            self._models[known] = resolved(config.model)
        model = self._models[known]
        return config if model is config.model else config.model_copy(update={"model": model})

    def _open(self, config: TrialConfig) -> Sources:
        sections = id(config.data), id(config.model)  # kept alive by `_points` and `_models`
        if sections not in self._known:
            self._known[sections] = self._sources(config)
        return self._known[sections]

    def _sources(self, config: TrialConfig) -> Sources:
        source = source_id(config)
        if source not in self._found:
            found = self._find(config.data, config.model)
            if isinstance(found, Opened):
                check_fit(config, found)
                self._opened[source] = found
                found = found.sources
            self._found[source] = found
        return self._found[source]

    def _read(self, data: DataConfig, model: ModelConfig) -> Opened:
        """From disk; a data set only once, whatever the models."""
        opened = open_sources(data, model, self._datasets.get(data))
        self._datasets[data] = opened.dataset
        return opened

    def _refuse_misfits(self) -> None:
        """What a model cannot do is said before anything is spent on it."""

        def counts_of(trial: TrialConfig) -> Counts:
            return self._sources(trial).counts

        def fresh_head(trial: TrialConfig) -> bool:
            return self._sources(trial).fresh_head

        if problems := list(check_models(self.sweep, counts_of, fresh_head)):
            raise SweepError(self.sweep.source.path or self.sweep.name, problems)

    def _open_all(self) -> None:
        """Open what trials that are not known yet may read: it is sent to the nodes only once."""
        for block in self.sweep.search:
            if block.method not in ("optuna", "halving"):
                continue
            start = {name: block.extremes(name)[0] for name in block.space()}
            names = [name for name in block.axes if name.startswith(("data.", "model."))]
            for values in itertools.product(*(block.axes[name] for name in names)):
                point = start | dict(zip(names, values, strict=True))
                self._open(self._plain(self._points.trial(point)))
