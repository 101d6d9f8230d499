"""Problems with the rounds of ISSP: how many there are, and what is trained in them."""

from collections.abc import Iterator

from orchestrator.planning.config import SearchBlock
from orchestrator.planning.problems import Place, Problem
from trials.arms import MASKED
from trials.config import MOST_ROUNDS, TrialConfig

BY_FRACTION = ("remaining", "linear")
"""Schedules whose rounds each remove a fraction, so that a target says how many there are."""


def check_rounds(trial: TrialConfig, arms: set[str]) -> Iterator[tuple[str, str]]:
    """Setting and message of each problem."""
    section = trial.issp
    if not any(trial.model_copy(update={"arm": arm}).runs_issp for arm in arms):
        return
    if section.rounds == "auto" and section.schedule not in BY_FRACTION:
        yield (
            "issp.rounds",
            f" = auto: schedule {section.schedule} has no fraction a round to count by; write "
            "`schedule: remaining` or `linear`, or a number of rounds",
        )
    if section.start == "pretrained" and trial.model.pretrained is False:
        yield (
            "issp.start",
            " = pretrained, but model.pretrained is false, so there are none: write adapted",
        )
    if section.trim_when == "stopped" and not (section.final_trim and section.stop_within):
        yield (
            "issp.trim_when",
            " = stopped: no round is stopped and trimmed; write `stop_within` above 0 and "
            "`final_trim: true`, or remove it",
        )
    if section.order == "train_first" and section.round_training != "none":
        yield (
            "issp.round_training",
            f" = {section.round_training}: with `order: train_first` every round trains "
            "train_fraction before its prune; write none",
        )
    if section.rate == "one_pass":
        yield from _check_one_pass(trial, arms)


def _check_one_pass(trial: TrialConfig, arms: set[str]) -> Iterator[tuple[str, str]]:
    """What would break the one training into several."""
    section, recovery = trial.issp, trial.finetune
    if section.order != "train_first":
        yield (
            "issp.rate",
            f" = one_pass: goes with `order: train_first`, not {section.order}; write that, or "
            "`rate: constant`",
        )
    if section.weights != "current":
        yield (
            "issp.weights",
            f" = {section.weights}: with `rate: one_pass` the training goes on from the weights "
            "that it pruned; write current, or `rate: constant`",
        )
    if not arms.intersection(MASKED):
        return
    if recovery.weights != "current":
        yield (
            "finetune.weights",
            f" = {recovery.weights}: with `issp.rate: one_pass` the recovery is the rest of the "
            "training in the rounds; write current, or `issp.rate: constant`",
        )
    if recovery.distill:
        yield (
            "finetune.distill",
            f" = {recovery.distill:g}: with `issp.rate: one_pass` rounds and recovery are one "
            "training, and the rounds have no teacher; write 0, or `issp.rate: constant`",
        )
    if recovery.data == "other_images":
        yield (
            "finetune.data",
            " = other_images: with `issp.rate: one_pass` rounds and recovery are one training on "
            "the same images; write kept_patches, or `issp.rate: constant`",
        )


def check_auto_rounds(trial: TrialConfig, block: SearchBlock, where: Place) -> Iterator[Problem]:
    """A number of rounds that follows from the levels needs levels that leave something to do."""
    section = trial.issp
    controlled = any(trial.model_copy(update={"arm": arm}).runs_issp for arm in block.arm)
    if section.rounds != "auto" or section.schedule not in BY_FRACTION or not controlled:
        return
    relative = section.sparsity_reference == "relative"
    for i, level in enumerate(block.extremes("sparsity")):
        end: int | str = ("low", "high")[i] if "sparsity" in block.ranges else i
        if level == "auto" or (not relative and level >= section.target_sparsity):
            shown = level if level == "auto" else f"{level:g}"
            yield Problem(
                (*where, "sparsity", end),
                f" = {shown}: issp.rounds = auto needs search.sparsity below "
                f"issp.target_sparsity = {section.target_sparsity:g}; write 0, or a number of "
                "rounds",
            )
            continue
        rounds = trial.model_copy(update={"sparsity": level}).issp_rounds
        if rounds > MOST_ROUNDS:
            yield Problem(
                ("issp", "round_fraction"),
                f" = {section.round_fraction:g}: issp.rounds = auto would be {rounds:,} rounds to "
                f"{section.target_sparsity:g}, and {MOST_ROUNDS} are the most; raise it",
            )
