"""Problems between the settings of a sweep and its models, once the data are known."""

from collections.abc import Callable, Iterator

from orchestrator.planning.checks import combinations
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.problems import Place, Problem
from trials.config import TrialConfig
from trials.data.datasets import Counts
from trials.graph.fitting import misfits, plainly


def check_models(
    sweep: SweepConfig, counts_of: Callable[[TrialConfig], Counts]
) -> Iterator[Problem]:
    """Every problem, each once.

    Args:
        counts_of: the sizes of a trial's data set; its model is in plain settings.
    """
    single, seen = len(sweep.search) == 1, set[Problem]()
    for i, block in enumerate(sweep.search):
        where: Place = ("search",) if single else ("search", i)
        for trial in map(plainly, combinations(sweep, block)):
            drops = block.extremes("patch_drop")
            for name, message in misfits(trial, block.arm, counts_of(trial), drops):
                place: Place = (*where, name) if name in block.further else _path(name)
                problem = Problem(place, message)
                if problem not in seen:
                    seen.add(problem)
                    yield problem


def _path(name: str) -> Place:
    return tuple(name.split(".")) if name else ()
