"""What is put into the queue: at the start, and while results call for more."""

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.driver.dispatcher import Ended
from orchestrator.driver.queue import Item, Step
from orchestrator.planning.plan import Plan, PlannedTrial, Planner
from orchestrator.planning.speeds import Speeds
from orchestrator.search import Outcome
from orchestrator.storage.keys import key_of, missing_nodes
from orchestrator.vocabulary import Metric
from orchestrator.worker.job import Job, job_of
from trials.stage import Node


@dataclass
class Growth:
    """The plan of a sweep that runs, kept up to date with its results.

    Attributes:
        plan: as far as the results so far say.
        finished: keys of trials and stages with a finished run.
        stored: keys that the store has.
        outcomes: key -> how trials ended.
        speeds: by which the steps of items are predicted.
        names: key -> name of everything that was queued.
        ran: trials queued.
    """

    planner: Planner
    plan: Plan
    finished: set[str]
    stored: Set[str]
    outcomes: dict[str, Outcome]
    speeds: Speeds
    names: dict[str, str] = field(default_factory=dict)
    ran: int = 0
    _stages: set[str] = field(default_factory=set)
    _wanted: set[str] = field(default_factory=set)

    def work(
        self, trials: Sequence[PlannedTrial], shared: Mapping[str, Node[Any]]
    ) -> list[tuple[Item, Job]]:
        """Shared stages and trials as items with their jobs, stages first."""
        early = {trial.key for trial in self.plan.early}
        self._stages |= shared.keys()
        found = [
            (self._stage_item(node), job_of(self.plan.owner[key])) for key, node in shared.items()
        ]
        for trial in trials:
            item = self._trial_item(trial)
            found.append((replace(item, urgent=trial.key in early), job_of(trial)))
        self.names |= {item.key: item.name for item, _ in found}
        self.ran += len(trials)
        return found

    def again(self, keys: Collection[str]) -> list[tuple[Item, Job]]:
        """What ran already, once more: MLflow has not got it."""
        trials = [t for t in (*self.plan.trials, *self.plan.early) if t.key in keys]
        shared = {key: node for key, node in self.plan.shared.items() if key in keys}
        ran, stages = self.ran, set(self._stages)
        work = self.work(trials, shared)
        self.ran, self._stages = ran, stages
        return work

    def proposals(self, ended: Sequence[Ended]) -> list[tuple[Item, Job]]:
        """What is to run because of what has just ended."""
        done = [one for one in ended if one.item.kind == "trial"]
        for one in ended:
            if one.error is None:
                self.finished.add(one.item.key)
        if not done:
            return []
        for one in done:
            self.outcomes[one.item.key] = Outcome(None if one.error else one.metrics)
        self.plan = self.planner.plan(self.outcomes)
        wanted = {trial.key: trial for trial in (*self.plan.trials, *self.plan.early)}
        if wanted.keys() == self._wanted:
            return []
        self._wanted = set(wanted)
        known = self.finished | self.names.keys()
        new = [trial for key, trial in wanted.items() if key not in known]
        at_hand = self.names.keys() | self.stored
        needed = missing_nodes((trial.graph.final for trial in new), at_hand)
        shared = {
            key: node
            for key, node in self.plan.shared.items()
            if key not in self.names and (key not in self.finished or key in needed)
        }
        return self.work(new, shared)

    def scores(self) -> Iterator[tuple[Item, float]]:
        """The trials that are finished already, with their deployed accuracy on validation."""
        for trial in self.plan.trials:
            outcome = self.outcomes.get(trial.key)
            accuracy = outcome.get(Metric.FINAL_DEPLOYED_VAL_ACCURACY) if outcome else None
            if accuracy is not None:
                arm = trial.config.arm
                yield Item(key=trial.key, name=trial.name, kind="trial", arm=arm), accuracy

    def counts(self, key: str) -> bool:
        """Whether something that was queued belongs to the sweep after all."""
        return key in self.plan.nodes

    def _stage_item(self, node: Node[Any]) -> Item:
        shared = self._stages
        needs = tuple(key for parent in node.parents() if (key := key_of(parent)) in shared)
        name, steps = node.stage.name, tuple(self._step(node))
        return Item(key=key_of(node), name=name, kind="stage", needs=needs, steps=steps)

    def _trial_item(self, trial: PlannedTrial) -> Item:
        """A trial needs the last shared stages on each of its paths; those need the ones before."""
        needs: dict[str, None] = {}
        steps: dict[str, Step] = {}

        def visit(node: Node[Any], wanted: bool) -> None:
            found = list(self._step(node)) if wanted else []
            for parent in node.parents():
                key = key_of(parent)
                if key in self._stages:
                    needs[key] = None
                elif key not in steps:
                    visit(parent, bool(found))  # nothing above a stored one is computed
            steps.update((step.key, step) for step in found)

        visit(trial.graph.final, True)
        return Item(
            key=trial.key,
            name=trial.name,
            kind="trial",
            needs=tuple(needs),
            steps=tuple(steps.values()),
            arm=trial.config.arm,
        )

    def _step(self, node: Node[Any]) -> Iterator[Step]:
        """A stage that is to be computed; nothing of one that is stored."""
        if (key := key_of(node)) not in self.stored:
            name = node.stage.name
            yield Step(key, name, self.speeds.seconds(name, node.work()))
