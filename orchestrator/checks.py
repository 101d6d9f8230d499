"""Problems between settings of a sweep: what each alone allows, but not together."""

import itertools
import math
from collections.abc import Iterator, Sequence
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
from trials.config import MASKED, TICKETED, TrialConfig
from trials.detect import FEWEST_LEVELS

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
    for name in (*AXES, *block.axes):
        values = block.axes[name] if name in block.axes else getattr(block, name)
        if not values:
            yield Problem((*where, name), ": must not be empty")
        if len(set(hashable(list(values)))) < len(values):
            yield Problem((*where, name), ": holds a value twice")
    if (block.method == "random") != (block.samples is not None):
        yield Problem((*where, "samples"), ": goes with `method: random`, and only with it")
    wrong = [p for name, v in block.axes.items() for p in _check_axis(sweep, name, v, where)]
    yield from wrong
    if not wrong:
        yield from _check_combinations(sweep, block, where)


def _check_axis(
    sweep: SweepConfig, name: str, values: Sequence[Any], where: Place
) -> Iterator[Problem]:
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
            yield Problem((*path, i), inner[0].message if inner else ": cannot be used")


def _check_combinations(sweep: SweepConfig, block: SearchBlock, where: Place) -> Iterator[Problem]:
    """The settings against each other, for every combination of the block's further axes."""
    combinations = itertools.product(*block.axes.values())
    for values in itertools.islice(combinations, MAX_COMBINATIONS):
        trial = sweep.base()
        for name, value in zip(block.axes, values, strict=True):
            trial = with_axis(trial, name, value)
        for name, message in _check_trial(trial, set(block.arm)):
            place: Place = tuple(name.split("."))
            yield Problem((*where, name) if name in block.axes else place, message)
        if "auto" in block.sparsity:
            for name, message in _check_auto(trial):
                place = tuple(name.split("."))
                yield Problem((*where, name) if name in block.axes else place, message)
        yield from _check_targets(trial, block, where)


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


def _check_targets(trial: TrialConfig, block: SearchBlock, where: Place) -> Iterator[Problem]:
    if not set(block.arm) & MASKED or trial.issp.sparsity_reference == "relative":
        return
    target = trial.issp.target_sparsity
    for i, level in enumerate(block.sparsity):
        if level != "auto" and level > target:
            yield Problem(
                (*where, "sparsity", i),
                f" = {level:g}: above issp.target_sparsity = {target:g}, so nothing is left to "
                "prune; raise the target or write `issp.sparsity_reference: relative`",
            )
