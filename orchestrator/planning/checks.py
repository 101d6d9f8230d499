"""Problems between settings of a sweep: what each alone allows, but not together."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from orchestrator.planning.config import (
    AXES,
    SECTIONS,
    SearchBlock,
    SweepConfig,
    hashable,
    nested,
    with_axis,
)
from orchestrator.planning.problems import Place, Problem, from_pydantic, known_names, suggest
from orchestrator.planning.round_checks import check_auto_rounds, check_rounds
from orchestrator.planning.search_checks import check_method, check_ranges
from orchestrator.planning.trial_checks import (
    check_auto,
    check_halving,
    check_levels,
    check_other_images,
    check_pattern,
    check_targets,
    check_trial,
)
from orchestrator.visible import unseen
from trials.arms import TICKETED
from trials.config import TrialConfig

MAX_TRIALS = 1_000_000
MAX_COMBINATIONS = 1000
"""Of further axes, per block, that are checked against each other."""


def check(sweep: SweepConfig, raw: dict[str, Any]) -> Iterator[Problem]:
    """Every problem between settings.

    Args:
        raw: the file as it was written, for its places.
    """
    single = not isinstance(raw.get("search"), list)
    yield from _check_values(raw, ())
    seen: set[Problem] = set()
    for i, block in enumerate(sweep.search):
        where: Place = ("search",) if single else ("search", i)
        for problem in _check_block(sweep, block, where):
            if problem not in seen:
                seen.add(problem)
                yield problem
    ticketed = any(set(block.arm).intersection(TICKETED) for block in sweep.search)
    if sweep.tickets.weights == "tuned" and not ticketed:
        yield Problem(("tickets", "weights"), " = tuned needs arm tickets or random_tickets")
    if sum(block.size() for block in sweep.search) > MAX_TRIALS:
        yield Problem(("search",), f": more than {MAX_TRIALS:,} combinations; split the sweep")


def _check_values(value: Any, where: Place) -> Iterator[Problem]:
    """No number may be infinite or none: a key could not be made of it. No text may hold what
    nobody sees: it goes into names, databases, terminals and pages."""
    if isinstance(value, float) and not math.isfinite(value):
        yield Problem(where, f" = {value}: must be a finite number")
    elif isinstance(value, str) and (odd := unseen(value)):
        yield Problem(
            where, f": holds the character U+{ord(odd):04X}, which cannot be seen; remove it"
        )
    elif isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for name, part in parts:
            if isinstance(name, str):
                yield from _check_values(name, where)
            yield from _check_values(part, (*where, name))


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


def combinations(sweep: SweepConfig, block: SearchBlock) -> Iterator[TrialConfig]:
    """A trial for every combination of the block's further axes, presets filled in."""
    found = itertools.product(*(block.extremes(name) for name in block.further))
    for values in itertools.islice(found, MAX_COMBINATIONS):
        trial = sweep.base()
        for name, value in zip(block.further, values, strict=True):
            trial = with_axis(trial, name, value)
        yield trial.resolved()


def _check_combinations(sweep: SweepConfig, block: SearchBlock, where: Place) -> Iterator[Problem]:
    """The settings against each other, for every combination of the block's further axes."""
    for trial in combinations(sweep, block):
        arms: set[str] = set(block.arm)
        problems = (*check_trial(trial, arms), *check_levels(trial, arms))
        for name, message in (*problems, *check_rounds(trial, arms)):
            place: Place = tuple(name.split("."))
            yield Problem((*where, name) if name in block.further else place, message)
        if "auto" in block.extremes("sparsity"):
            for name, message in check_auto(trial):
                place = tuple(name.split("."))
                yield Problem((*where, name) if name in block.further else place, message)
        yield from check_targets(trial, block, where)
        yield from check_auto_rounds(trial, block, where)
        yield from check_pattern(trial, block, where)
        yield from check_other_images(trial, block, where)
        yield from check_halving(trial, block, where)
