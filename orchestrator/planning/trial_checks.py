"""Problems within one trial's settings: what each alone allows, but not together."""

from collections.abc import Iterable, Iterator

from orchestrator.planning.config import SearchBlock
from orchestrator.planning.problems import Place, Problem
from orchestrator.planning.ticket_checks import check_tickets
from trials.arms import BY_NAME, MASKED, PRUNED, REDUCED, TICKETED
from trials.config import TrialConfig
from trials.data.readers import reader_of
from trials.sparsity.allocation import UNSTRUCTURED, fits_pattern, pattern_sparsity
from trials.sparsity.criteria import CRITERIA
from trials.sparsity.detect import FEWEST_LEVELS
from trials.stages.issp import EXACT


def check_trial(trial: TrialConfig, arms: set[str]) -> Iterator[tuple[str, str]]:
    """Setting and message of each problem."""
    data = trial.data
    yield from reader_of(data).problems(data)
    if data.validation is not None and data.validation_from == "test":
        yield (
            "data.validation",
            f" = {data.validation}: with validation_from: test the test set is split into halves; "
            "remove one of the two",
        )
    if _prunes_once(trial, arms):
        yield from _check_mask(trial)
        yield from _check_start(trial)
    yield from check_tickets(trial, arms.intersection(TICKETED))
    yield from _check_reduction(trial, arms)
    if trial.model.pretrained is not False:
        return
    # A random model has no pretrained weights to read attention or magnitudes from.
    reason = "but model.pretrained is false, so there are none"
    if arms.intersection(TICKETED) and trial.tickets.weights == "pretrained":
        yield "tickets.weights", f" = pretrained, {reason}: write adapted"
    if arms.intersection(PRUNED) and trial.essential.weights == "pretrained":
        yield "essential.weights", f" = pretrained, {reason}: write adapted"
    if trial.finetune.weights == "pretrained":
        yield "finetune.weights", f" = pretrained, {reason}: write current or random"
    if arms.intersection(MASKED) and trial.issp.weights == "rewind":
        yield "issp.weights", f" = rewind, {reason}: write current"


def check_auto(trial: TrialConfig) -> Iterator[tuple[str, str]]:
    """Setting and message of each problem with `sparsity: auto`."""
    section = trial.essential
    if section.reference == "level_zero" and 0 not in section.levels:
        yield (
            "essential.levels",
            ": essential.reference = level_zero needs 0 among essential.levels; add it",
        )
    if section.refine is not None and (section.recovers or section.start == "pretrained"):
        yield (
            "essential.refine",
            f" = {section.refine:g}: goes with `start: adapted` and `reference: dense`; list the "
            "levels that are wanted, and remove it",
        )
    if section.detector == "first_violation":
        return
    fewest, have = FEWEST_LEVELS[section.detector], sum(level > 0 for level in section.levels)
    if have < fewest:
        yield (
            "essential.levels",
            f": {have} above 0, but detector {section.detector} needs at least {fewest}; add some",
        )
    if section.refine is not None:
        yield (
            "essential.refine",
            f" = {section.refine:g}: narrows the bracket of first_violation, which detector "
            f"{section.detector} does not read; remove it or write `detector: first_violation`",
        )


def _prunes_once(trial: TrialConfig, arms: set[str]) -> bool:
    """Whether any of the arms makes a one-shot mask at the level of `search.sparsity`."""
    return any(trial.model_copy(update={"arm": arm}).prunes_once for arm in arms)


def _check_mask(trial: TrialConfig) -> Iterator[tuple[str, str]]:
    """Two settings that both say how sparse a tensor is."""
    mask = trial.essential
    own = CRITERIA[mask.criterion].allocation
    if own is not None and mask.scope != "global":
        yield (
            "essential.scope",
            f" = {mask.scope}: {mask.criterion} itself says how sparse each tensor is; remove the "
            "scope, or write `criterion: magnitude`",
        )
    if mask.pattern == UNSTRUCTURED:
        return
    if own is not None:
        yield (
            "essential.pattern",
            f" = {mask.pattern}: makes every tensor equally sparse, so {mask.criterion} has "
            "nothing to say; write `criterion: magnitude`, or remove the pattern",
        )
    if mask.scope != "global":
        yield (
            "essential.scope",
            f" = {mask.scope}: the pattern {mask.pattern} already fixes the sparsity of every "
            "tensor; remove one of the two",
        )


def _check_start(trial: TrialConfig) -> Iterator[tuple[str, str]]:
    """What a level of the one-shot curve starts from and is compared with."""
    section = trial.essential
    if section.start == "pretrained" and trial.model.pretrained is False:
        yield (
            "essential.start",
            " = pretrained, but model.pretrained is false, so there are none: write adapted",
        )
    if section.reference == "level_zero" and section.evaluate == "one_shot":
        yield (
            "essential.reference",
            " = level_zero: level 0 is recovered like the others; write "
            "`evaluate: after_finetune`, or `reference: dense`",
        )
    if section.reference == "level_zero" and section.pattern != UNSTRUCTURED:
        yield (
            "essential.reference",
            f" = level_zero: the pattern {section.pattern} has no level 0; write "
            "`reference: dense`, or `pattern: unstructured`",
        )


def check_pattern(trial: TrialConfig, block: SearchBlock, where: Place) -> Iterator[Problem]:
    """A pattern has one sparsity, so no other level can be asked of it."""
    pattern = trial.essential.pattern
    if pattern == UNSTRUCTURED or not _prunes_once(trial, set(block.arm)):
        return
    only = round(pattern_sparsity(pattern), 6)
    for i, level in enumerate(block.extremes("sparsity")):
        if level == "auto" or not fits_pattern(level, pattern):
            shown = level if level == "auto" else f"{level:g}"
            yield Problem(
                (*where, "sparsity", i),
                f" = {shown}: essential.pattern = {pattern} always removes {only:g}; write "
                f"`sparsity: {only:g}`, and other levels in a block of `search` with another "
                "`essential.pattern`",
            )


def _check_reduction(trial: TrialConfig, arms: set[str]) -> Iterator[tuple[str, str]]:
    """Tokens that leave inside the model, against what else the trial does."""
    reduction, recovery = trial.reduction, trial.finetune
    if reduction.method == "none":
        if REDUCED in arms:
            yield (
                "reduction.method",
                f" = none: the arm {REDUCED} needs one; write evit, tome, dynamicvit or random",
            )
        return
    reducing = {arm for arm in arms if BY_NAME[arm].reducible}
    if reducing.intersection(TICKETED):
        yield from _check_reduced_tickets(trial)
    if not reducing or not reduction.train:
        return
    if reduction.predicts and recovery.distill:
        yield (
            "finetune.distill",
            f" = {recovery.distill:g}: dynamicvit has a teacher of its own; write 0, and its "
            "weight as reduction.teacher_weight",
        )
    falls = reduction.shrink_start + reduction.shrink_epochs
    if reduction.method == "evit" and falls > recovery.epochs:
        yield (
            "reduction.shrink_epochs",
            f" = {reduction.shrink_epochs}: after the {recovery.epochs} of finetune.epochs, "
            f"shrink_start = {reduction.shrink_start} of them at keep 1, keep would still be "
            "falling; lower one of the two",
        )


def _check_reduced_tickets(trial: TrialConfig) -> Iterator[tuple[str, str]]:
    section, method = trial.tickets, trial.reduction.method
    if section.removal != "gather":
        yield (
            "tickets.removal",
            f" = {section.removal}: hidden tokens would be counted as kept by reduction.method = "
            f"{method}; write gather",
        )
    if section.scope == "global":
        yield (
            "tickets.scope",
            f" = global: reduction.method = {method} needs equally many tokens in every image; "
            "write scope: image",
        )


def check_halving(trial: TrialConfig, block: SearchBlock, where: Place) -> Iterator[Problem]:
    """Rungs of successive halving are recoveries in which no token leaves inside, and their epochs
    are those of all arms."""
    if block.method != "halving":
        return
    if trial.finetune.budget == "exposure":
        yield Problem(
            (*where, "method"),
            " = halving: stops trainings after equally many epochs, and finetune.budget = exposure "
            "gives arms different numbers; write grid or random",
        )
    if trial.reduction.method != "none":
        yield Problem(
            (*where, "method"),
            f" = halving: does not stop trainings with reduction.method = {trial.reduction.method} "
            "early; write grid or random",
        )


def check_other_images(trial: TrialConfig, block: SearchBlock, where: Place) -> Iterator[Problem]:
    if trial.finetune.data != "other_images":
        return
    for i, fraction in enumerate(block.extremes("mask_data_fraction")):
        if fraction >= 1:
            yield Problem(
                (*where, "mask_data_fraction", i),
                f" = {fraction:g}: the mask sees every training image, so finetune.data = "
                "other_images leaves none; lower it or write kept_patches",
            )


def _runs_issp(trial: TrialConfig, arms: Iterable[str]) -> bool:
    return any(trial.model_copy(update={"arm": arm}).runs_issp for arm in arms)


def check_levels(trial: TrialConfig, arms: set[str]) -> Iterator[tuple[str, str]]:
    """`issp.levels` against the rest of the section: setting and message of each problem."""
    section = trial.issp
    if not section.levels or not _runs_issp(trial, arms):
        return
    if section.rounds == "auto" or section.rounds > 1:
        yield (
            "issp.rounds",
            f" = {section.rounds}: levels are the sparsities of one round; write `rounds: 1` or "
            "`levels: []`",
        )
    if section.ingredients < len(section.levels):
        yield (
            "issp.ingredients",
            f" = {section.ingredients}: fewer than issp.levels, which are {len(section.levels)}; "
            "each ingredient has one level, so some would have none",
        )
    if section.merge in EXACT and min(section.levels) > section.target_sparsity:
        yield (
            "issp.target_sparsity",
            f" = {section.target_sparsity:g}: {section.merge} ends exactly there, but all of "
            f"issp.levels are above it (from {min(section.levels):g}), so the ingredients may "
            "keep too little together; raise the target or lower a level",
        )


def check_targets(trial: TrialConfig, block: SearchBlock, where: Place) -> Iterator[Problem]:
    """ISSP's final sparsity must not lie below the first mask's."""
    section = trial.issp
    if not _runs_issp(trial, block.arm) or section.sparsity_reference == "relative":
        return
    target = section.target_sparsity
    lowest = min(section.levels, default=1.0)
    for i, level in enumerate(block.extremes("sparsity")):
        end = ("low", "high")[i] if "sparsity" in block.ranges else i
        if section.rounds == "auto" and (level == "auto" or level >= target):
            continue  # `round_checks` says it
        if level != "auto" and section.needs_target and level > target:
            yield Problem(
                (*where, "sparsity", end),
                f" = {level:g}: above issp.target_sparsity = {target:g}, so nothing is left to "
                "prune; raise the target or write `issp.sparsity_reference: relative`",
            )
        elif level != "auto" and level > lowest:
            yield Problem(
                (*where, "sparsity", i),
                f" = {level:g}: above {lowest:g}, the lowest of issp.levels, so the ingredients "
                "of that level have nothing left to prune; raise the level or write "
                "`issp.sparsity_reference: relative`",
            )
