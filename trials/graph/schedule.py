"""How many steps the rounds of ISSP train the weights themselves, and where they lie in a schedule.

With `issp.rate: one_pass` the trainings before the prunes and the recovery share the steps of
`finetune`: one decay of the learning rate, one optimizer. So every arm trains equally long.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from trials.config import TrialConfig
from trials.data.datasets import Counts
from trials.errors import StageInputError
from trials.training.budget import (
    Span,
    look_ahead_steps,
    pass_steps,
    round_steps,
    share_images,
)
from trials.training.recipe import TrainConfig


@dataclass(frozen=True, slots=True)
class Schedule:
    """The trainings of a trial whose rounds train before they prune.

    Attributes:
        recipe: of the rounds.
        rounds: the steps before each prune.
        rest: those of the recovery; None = the recovery has a schedule of its own.
    """

    recipe: TrainConfig
    rounds: tuple[Span, ...]
    rest: Span | None


def schedule_of(trial: TrialConfig, images: int) -> Schedule | None:
    """The trainings of a trial in plain settings; None where no round trains before its prune.

    Args:
        images: for training.

    Raises:
        ValueError: the rounds leave no step for the recovery; `problems` says it in words.
    """
    section = trial.issp
    if section.order != "train_first" or not trial.runs_issp:
        return None
    steps = _steps(trial, images)
    if section.rate == "constant":
        recipe = section.part(TrainConfig, schedule="constant")
        alone = [Span(first=0, steps=n, total=n, carry=False) for n in steps]
        return Schedule(recipe, tuple(alone), None)
    total = trial.finetune.epochs * pass_steps(images, trial.finetune.batch_size)
    ends, carry = list(accumulate(steps)), section.carry_optimizer
    spans = [
        Span(first=end - n, steps=n, total=total, carry=carry)
        for end, n in zip(ends, steps, strict=True)
    ]
    if ends[-1] >= total:
        raise ValueError(f"the rounds train {ends[-1]} of {total} steps")
    rest = Span(first=ends[-1], steps=total - ends[-1], total=total, carry=carry)
    return Schedule(trial.finetune.part(TrainConfig), tuple(spans), rest)


def problems(trial: TrialConfig, counts: Counts) -> Iterator[tuple[str, str]]:
    """Setting and message where the rounds leave nothing for the recovery."""
    section = trial.issp
    if section.order != "train_first" or section.rate != "one_pass" or not trial.runs_issp:
        return
    ends = list(accumulate(_steps(trial, counts.train)))
    total = trial.finetune.epochs * pass_steps(counts.train, trial.finetune.batch_size)
    late = [number for number, end in enumerate(ends, start=1) if end >= total]
    if late:
        yield (
            "issp",
            f": round {late[0]} of {len(ends)} leaves no step for fine-tuning: the rounds train "
            f"{ends[-1]:,} of {total:,} steps; raise finetune.epochs or lower issp.train_fraction",
        )


def require_steps(trial: TrialConfig, counts: Counts) -> None:
    """Refuse a trial whose rounds leave no step for the recovery.

    Raises:
        StageInputError: in one line, what to change.
    """
    for name, message in problems(trial, counts):
        raise StageInputError(f"{name}{message}")


def _steps(trial: TrialConfig, images: int) -> list[int]:
    """Of each round."""
    section = trial.issp
    recipe = section if section.rate == "constant" else trial.finetune
    per_pass = pass_steps(images, recipe.batch_size)
    spent = 0
    if section.count_look_ahead and section.look_ahead == "steps":
        seen = share_images(images, trial.mask_data_fraction)
        spent = section.ingredients * look_ahead_steps(section.steps, seen, section.batch_size)
    return [
        max(1, round_steps(number, section.train_fraction, section.train_growth, per_pass) - spent)
        for number in range(1, trial.issp_rounds + 1)
    ]
