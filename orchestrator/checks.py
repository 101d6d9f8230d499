"""Problems between settings of a sweep: what each alone allows, but not together."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from orchestrator.config import (
    AXES,
    SECTIONS,
    SearchBlock,
    SweepConfig,
    hashable,
    nested,
    with_axis,
)
from orchestrator.problems import Problem, from_pydantic, known_names, suggest
from orchestrator.search.checks import check_method, check_ranges
from trials.allocation import UNSTRUCTURED, fits_pattern, pattern_sparsity
from trials.config import MASKED, TICKETED, TrialConfig
from trials.criteria import CRITERIA
from trials.detect import FEWEST_LEVELS
from trials.stages.issp import EXACT

MAX_TRIALS = 1_000_000
MAX_COMBINATIONS = 1000
"""Of further axes, per block, that are checked against each other."""

Place = tuple[str | int, ...]


def check(sweep: SweepConfig, raw: dict[str, Any]) -> Iterator[Problem]:
    """Every problem between settings.

    Args:
        raw: the file as it was written, for its places.
    """
    single = not isinstance(raw.get("search"), list)
    yield from _check_finite(raw, ())
    seen: set[Problem] = set()
    for i, block in enumerate(sweep.search):
        where: Place = ("search",) if single else ("search", i)
        for problem in _check_block(sweep, block, where):
            if problem not in seen:
                seen.add(problem)
                yield problem
    if sum(block.size() for block in sweep.search) > MAX_TRIALS:
        yield Problem(("search",), f": more than {MAX_TRIALS:,} combinations; split the sweep")


def _check_finite(value: Any, where: Place) -> Iterator[Problem]:
    """No setting may be infinite or not a number: a key could not be made of it."""
    if isinstance(value, float) and not math.isfinite(value):
        yield Problem(where, f" = {value}: must be a finite number")
    elif isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for name, part in parts:
            yield from _check_finite(part, (*where, name))


def _check_block(sweep: SweepConfig, block: SearchBlock, where: Place) -> Iterator[Problem]:
    for name in (*AXES, *block.further):
        values = block.extremes(name)
        if not values:
            yield Problem((*where, name), ": must not be empty")
        if len(set(hashable(list(values)))) < len(values):
            yield Problem((*where, name), ": holds a value twice")
    yield from check_method(block, sweep.finetune.epochs, where)
    wrong = list(check_ranges(block, where))
    for name in block.further:
        ends = ("low", "high") if name in block.ranges else None
        wrong += _check_axis(sweep, name, block.extremes(name), where, ends)
    yield from wrong
    if not wrong:
        yield from _check_combinations(sweep, block, where)


def _check_axis(
    sweep: SweepConfig,
    name: str,
    values: Sequence[Any],
    where: Place,
    ends: tuple[str, str] | None = None,
) -> Iterator[Problem]:
    """Values that an axis cannot have; `ends` names them where they are the ends of a range."""
    section, _, rest = name.partition(".")
    path = (*where, name)
    if section not in SECTIONS:
        yield Problem(path, f": unknown section{suggest(section, SECTIONS)}")
        return
    names = known_names(SweepConfig, (section,))
    head = rest.split(".")[0]
    if head not in names:
        yield Problem(path, f": unknown key{suggest(head, names)}")
        return
    for i, value in enumerate(values):
        try:
            with_axis(sweep.base(), name, value)
        except ValidationError as error:
            raw = nested(getattr(sweep, section).model_dump(), rest.split("."), value)
            inner = from_pydantic(error, raw, type(getattr(sweep, section)))
            place: str | int = ends[i] if ends else i
            yield Problem((*path, place), inner[0].message if inner else ": cannot be used")


def _check_combinations(sweep: SweepConfig, block: SearchBlock, where: Place) -> Iterator[Problem]:
    """The settings against each other, for every combination of the block's further axes."""
    combinations = itertools.product(*(block.extremes(name) for name in block.further))
    for values in itertools.islice(combinations, MAX_COMBINATIONS):
        trial = sweep.base()
        for name, value in zip(block.further, values, strict=True):
            trial = with_axis(trial, name, value)
        trial = trial.resolved()
        arms: set[str] = set(block.arm)
        for name, message in (*_check_trial(trial, arms), *_check_levels(trial, arms)):
            place: Place = tuple(name.split("."))
            yield Problem((*where, name) if name in block.further else place, message)
        if "auto" in block.extremes("sparsity"):
            for name, message in _check_auto(trial):
                place = tuple(name.split("."))
                yield Problem((*where, name) if name in block.further else place, message)
        yield from _check_targets(trial, block, where)
        yield from _check_pattern(trial, block, where)
        yield from _check_other_images(trial, block, where)


def _check_trial(trial: TrialConfig, arms: set[str]) -> Iterator[tuple[str, str]]:
    """Setting and message of each problem."""
    data = trial.data
    if data.name == "cifar10" and data.root is None:
        yield "data.root", " is missing: the folder that holds cifar-10-batches-py/"
    if data.validation is not None and data.validation_from == "test":
        yield (
            "data.validation",
            f" = {data.validation}: with validation_from: test the test set is split into halves; "
            "remove one of the two",
        )
    if _prunes_once(trial, arms):
        yield from _check_mask(trial)
    yield from _check_tickets(trial, arms & TICKETED)
    if trial.model.pretrained is not False:
        return
    # A random model has no pretrained weights to read attention or magnitudes from.
    reason = "but model.pretrained is false, so there are none"
    if arms & TICKETED and trial.tickets.weights == "pretrained":
        yield "tickets.weights", f" = pretrained, {reason}: write adapted"
    if arms - {"dense", "tickets"} and trial.essential.weights == "pretrained":
        yield "essential.weights", f" = pretrained, {reason}: write adapted"
    if trial.finetune.weights == "pretrained":
        yield "finetune.weights", f" = pretrained, {reason}: write current or random"
    if arms & MASKED and trial.issp.weights == "rewind":
        yield "issp.weights", f" = rewind, {reason}: write current"


def _check_auto(trial: TrialConfig) -> Iterator[tuple[str, str]]:
    """Setting and message of each problem with `sparsity: auto`."""
    section = trial.essential
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
    return "essential" in arms or _runs_issp(trial, arms)


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


def _check_pattern(trial: TrialConfig, block: SearchBlock, where: Place) -> Iterator[Problem]:
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


def _check_tickets(trial: TrialConfig, arms: set[str]) -> Iterator[tuple[str, str]]:
    """How patches are selected, against how images are augmented and trained on."""
    section, recovery = trial.tickets, trial.finetune
    if recovery.data == "other_images":
        if "random_patches" in arms:
            yield (
                "finetune.data",
                " = other_images trains on all patches, so the arm random_patches controls "
                "nothing; leave the arm out or write kept_patches",
            )
        return
    if not arms:
        return
    if section.selection == "static" and recovery.crop:
        yield (
            "finetune.crop",
            f" = {recovery.crop}: a crop breaks the patch grid that the tickets are made on; write "
            "`tickets.selection: online` or crop 0",
        )
    if section.selection == "online" and section.select == "random_fixed":
        yield (
            "tickets.select",
            " = random_fixed: a fixed set of patches cannot be selected online; write "
            "`selection: static` or `select: lowest`",
        )
    if section.selection == "online" and section.scope == "global":
        yield (
            "tickets.scope",
            " = global: one threshold needs the scores of all images, which online selection never "
            "has; write `scope: image` or `selection: static`",
        )


def _check_other_images(trial: TrialConfig, block: SearchBlock, where: Place) -> Iterator[Problem]:
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


def _check_levels(trial: TrialConfig, arms: set[str]) -> Iterator[tuple[str, str]]:
    """`issp.levels` against the rest of the section: setting and message of each problem."""
    section = trial.issp
    if not section.levels or not _runs_issp(trial, arms):
        return
    if section.rounds > 1:
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


def _check_targets(trial: TrialConfig, block: SearchBlock, where: Place) -> Iterator[Problem]:
    section = trial.issp
    if not _runs_issp(trial, block.arm) or section.sparsity_reference == "relative":
        return
    target = section.target_sparsity
    lowest = min(section.levels, default=1.0)
    for i, level in enumerate(block.extremes("sparsity")):
        end = ("low", "high")[i] if "sparsity" in block.ranges else i
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
