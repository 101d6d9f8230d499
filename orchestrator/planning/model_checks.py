"""Problems between the settings of a sweep and its models, once the data are known."""

import itertools
from collections.abc import Callable, Iterator

from orchestrator import notices
from orchestrator.planning.checks import combinations
from orchestrator.planning.config import SearchBlock, SweepConfig
from orchestrator.planning.problems import Place, Problem
from trials.config import TrialConfig
from trials.data.datasets import Counts
from trials.graph import schedule
from trials.graph.fitting import misfits, model_of, plainly
from trials.graph.sources import Opened
from trials.model.fit import fits
from trials.model.repository import Remote
from trials.reduction.nested import survivors

FRESH = (
    "essential.start",
    " = pretrained with evaluate: one_shot and a fresh head compares random outputs: write "
    "evaluate: after_finetune",
)


def check_models(
    sweep: SweepConfig,
    counts_of: Callable[[TrialConfig], Counts],
    fresh_head: Callable[[TrialConfig], bool],
) -> Iterator[Problem]:
    """Every problem, each once.

    Args:
        counts_of: the sizes of a trial's data set; its model is in plain settings.
        fresh_head: whether any weight of its model is drawn at random.
    """
    single, seen = len(sweep.search) == 1, set[Problem]()
    for i, block in enumerate(sweep.search):
        where: Place = ("search",) if single else ("search", i)
        for trial in map(plainly, combinations(sweep, block)):
            counts, drops = counts_of(trial), block.extremes("patch_drop")
            found = [*misfits(trial, block.arm, counts, drops), *_schedules(trial, block, counts)]
            if all(name for name, _ in found):  # else the model cannot be used at all
                found += _derived(trial, block, counts)
            if _untrained(trial, block) and fresh_head(trial):
                found.append(FRESH)
            for name, message in found:
                place: Place = (*where, name) if name in block.further else _path(name)
                problem = Problem(place, message)
                if problem not in seen:
                    seen.add(problem)
                    yield problem


def _schedules(trial: TrialConfig, block: SearchBlock, counts: Counts) -> Iterator[tuple[str, str]]:
    """Rounds that train for too long, at each level and fraction that says how many there are."""
    for level, fraction, arm in itertools.product(
        block.extremes("sparsity"), block.extremes("mask_data_fraction"), block.arm
    ):
        at = {"sparsity": level, "mask_data_fraction": fraction, "arm": arm}
        yield from schedule.problems(trial.model_copy(update=at), counts)


def _derived(trial: TrialConfig, block: SearchBlock, counts: Counts) -> list[tuple[str, str]]:
    """A number of patches that is written though the tickets' score says it."""
    named = any(trial.model_copy(update={"arm": arm}).nested for arm in block.arm)
    keep = trial.tickets.nested_keep
    if not named or keep is None:
        return []
    if "patch_drop" not in block.model_fields_set and "patch_drop" not in block.ranges:
        return []
    model = model_of(trial, counts)
    text = f"({survivors(keep, model)} of {model.patches} at {keep:g})"
    message = f" = nested sets how many patches stay {text}: remove search.patch_drop"
    return [("tickets.score", message)]


def _untrained(trial: TrialConfig, block: SearchBlock) -> bool:
    """Whether the pretrained weights are looked at as they are, under masks."""
    section = trial.essential
    pruned = any(trial.model_copy(update={"arm": arm}).prunes_once for arm in block.arm)
    return pruned and (section.start, section.evaluate) == ("pretrained", "one_shot")


def _path(name: str) -> Place:
    return tuple(name.split(".")) if name else ()


def check_fit(config: TrialConfig, opened: Opened) -> None:
    """Refuse a file whose weights are not those of the model; say what was not taken as it is."""
    weights, counts = opened.sources.weights, opened.sources.counts
    path = opened.weights.path if isinstance(opened.weights, Remote) else opened.weights
    if path is not None and weights is not None:
        classes, channels = counts.classes, counts.channels
        found = fits(config.model, path, weights.digest, classes=classes, channels=channels)
        if found.words:
            notices.say(f"model.pretrained = {config.model.pretrained}: {found.words}")
