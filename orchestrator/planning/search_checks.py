"""What a search block asks for that its method cannot do, each with what to write instead."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from orchestrator.planning.problems import Place, Problem, from_pydantic
from orchestrator.search.block import AXES, SearchBlock

USERS: dict[str, tuple[str, ...]] = {
    "samples": ("random", "optuna", "halving"),
    "batch": ("optuna",),
    "objectives": ("optuna",),
    "reduction": ("halving",),
    "min_epochs": ("halving",),
    "winners": ("halving",),
}
"""Which methods read a setting."""


def check_method(block: SearchBlock, budget: int, where: Place) -> Iterator[Problem]:
    """Settings of the block that do not go with its method.

    Args:
        budget: `finetune.epochs`.
    """
    for name, users in USERS.items():
        default = SearchBlock.model_fields[name].default
        if block.method not in users and getattr(block, name) != default:
            methods = " or ".join(f"`method: {user}`" for user in users)
            yield Problem((*where, name), f": goes with {methods}, and only with it; remove it")
    if block.samples is None and block.method in ("random", "optuna"):
        yield Problem(
            (*where, "samples"),
            f": goes with `method: {block.method}`, which needs it; write e.g. `samples: 20`",
        )
    if block.method == "optuna":
        yield from _check_optuna(block, where)
    if block.method == "halving":
        yield from _check_halving(block, budget, where)


def _check_optuna(block: SearchBlock, where: Place) -> Iterator[Problem]:
    if not block.objectives:
        yield Problem(
            (*where, "objectives"),
            ": must not be empty; write at least one of accuracy, macs, sparsity",
        )
    if len(set(block.objectives)) < len(block.objectives):
        yield Problem((*where, "objectives"), ": holds a value twice")
    names = [name for name in block.space(seeds=False) if len(block.extremes(name)) > 1]
    if not names:
        yield Problem(
            where,
            ": there is nothing to choose for `method: optuna`: give an axis besides `seed` "
            "several values, or a range such as `patch_drop: {low: 0.0, high: 0.5}`",
        )


def _check_halving(block: SearchBlock, budget: int, where: Place) -> Iterator[Problem]:
    if budget <= block.min_epochs:
        yield Problem(
            (*where, "min_epochs"),
            f" = {block.min_epochs}: must be below finetune.epochs = {budget}, or no training "
            "could be stopped early; raise finetune.epochs or write `method: grid`",
        )
    if "finetune.epochs" in block.further:
        yield Problem(
            (*where, "finetune.epochs"),
            ": is the full budget of `method: halving`, so it cannot be an axis; set it once, "
            "in `finetune`",
        )


def check_ranges(block: SearchBlock, where: Place) -> Iterator[Problem]:
    """Ranges that cannot be used: with this method, on this axis, or with these ends."""
    for name, wanted in block.ranges.items():
        place = (*where, name)
        if block.method == "grid" or (block.method == "halving" and block.samples is None):
            yield Problem(
                place,
                f": is a range, which `method: {block.method}` cannot list; write its values, as "
                "[a, b, c], or `method: random` or `optuna` with `samples`",
            )
        if name.startswith(("data.", "model.")):
            yield Problem(
                place,
                ": every value would be data or a model of its own to open; write a list",
            )
        if name in AXES:
            yield from _check_ends(name, (wanted.low, wanted.high), place)
            if getattr(block, name) != SearchBlock.model_fields[name].default:
                yield Problem(place, ": is given twice, as a list and in `ranges`; remove one")


def _check_ends(name: str, ends: tuple[Any, Any], place: Place) -> Iterator[Problem]:
    """The ends of a range on a short axis, against what the axis allows."""
    for end, value in zip(("low", "high"), ends, strict=True):
        try:
            SearchBlock.model_validate({name: [value]})
        except ValidationError as error:
            for problem in from_pydantic(error, {name: [value]}, SearchBlock):
                yield Problem((*place, end), problem.message)
