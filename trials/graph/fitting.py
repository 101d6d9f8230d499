"""A trial's settings against its model and data: what follows from them, and what cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from trials.arms import TICKETED
from trials.config import TicketSection, TrialConfig
from trials.data.datasets import Counts
from trials.errors import ModelError
from trials.model.capability import Capability, capability_of
from trials.model.forward import POOLS
from trials.model.repository import resolved
from trials.reduction.nested import survivors
from trials.reduction.refusals import why_not
from trials.reduction.tokens import BlockTokens, block_tokens
from trials.sparsity.allocation import UNSTRUCTURED, n_and_m
from trials.stage import StageConfig
from trials.tokens.tickets import drop_of, exact_drop, keep_count


def plainly(trial: TrialConfig) -> TrialConfig:
    """With the folder or repository that names the model replaced by what it says.

    Raises:
        ModelError: it is not there, or says of no model of timm.
    """
    model = resolved(trial.model)
    return trial if model is trial.model else trial.model_copy(update={"model": model})


def model_of(trial: TrialConfig, counts: Counts) -> Capability:
    """What the trial's model can do, made for the classes and channels of the data.

    Raises:
        ModelError: in one line, why it cannot be used.
    """
    known = {"num_classes": counts.classes, "in_chans": counts.channels}
    return capability_of(trial.model.name, known | trial.model.kwargs)


def fitted(
    trial: TrialConfig, counts: Counts, part: Callable[..., Any] = StageConfig.part
) -> TrialConfig:
    """The trial with what follows from its arm and its model; again = the same.

    A score that nobody wrote is `cls`, or `received` where there is no class token. And where
    the first token is a register, its attention is no class token's to be evened out. The score
    `nested` says how many patches are dropped.

    Args:
        part: takes a section's fields; a planner's gives equal ones as one object.

    Raises:
        ModelError: the model cannot be used.
    """
    trial = trial.completed()
    section = trial.tickets
    if (keep := section.nested_keep) is not None and trial.nested:
        patches = model_of(trial, counts).patches
        drop = drop_of(patches, survivors(keep, model_of(trial, counts)))
        return trial if trial.patch_drop == drop else trial.model_copy(update={"patch_drop": drop})
    if section.score is not None and section.sink != "cls_mean":
        return trial
    model = model_of(trial, counts)
    score = section.score or ("cls" if model.class_token else "received")
    register_first = model.prefix > 0 and not model.class_token
    sink = "none" if register_first and section.sink == "cls_mean" else section.sink
    if (score, sink) == (section.score, section.sink):
        return trial
    filled = part(section, TicketSection, score=score, sink=sink)
    return trial.model_copy(update={"tickets": filled})


def tokens_of(trial: TrialConfig, counts: Counts) -> BlockTokens:
    """Tokens in attention and MLP of each block, where some leave inside; else nothing.

    Raises:
        ModelError: the model cannot be used.
        ValueError: a stage would keep nothing, or nothing can be merged.
    """
    if not trial.reduces:
        return ()
    model = model_of(trial, counts)
    kept = kept_of(trial, model, trial.patch_drop) if trial.parts.ticketed else None
    return block_tokens(trial.completed().reduction, model, kept)


def kept_of(trial: TrialConfig, model: Capability, drop: float) -> int:
    """Patches that a ticket of the trial's arm keeps.

    Args:
        drop: value of `patch_drop`, which a nested score does not read.
    """
    if trial.nested and trial.tickets.nested_keep is not None:
        return survivors(trial.tickets.nested_keep, model)
    return keep_count(model.patches, exact_drop(model.patches, drop, trial.tickets.count))


def require(trial: TrialConfig, counts: Counts) -> None:
    """Refuse a trial that does not fit its model.

    Raises:
        ModelError: every reason, in one line.
    """
    if found := [f"{name}{text}" for name, text in misfits(trial, [trial.arm], counts)]:
        raise ModelError("; ".join(found))


def misfits(
    trial: TrialConfig,
    arms: Iterable[str],
    counts: Counts,
    drops: Sequence[float] = (),
) -> Iterator[tuple[str, str]]:
    """Setting and message of each problem; the setting is empty where the message names it.

    Args:
        drops: values of `patch_drop`; none = the trial's own.
    """
    try:
        model = model_of(trial, counts)
    except ModelError as error:
        yield "", str(error)
        return
    yield from _data(trial, model, counts)
    named = set(arms)
    if named.intersection(TICKETED):
        yield from _scores(fitted(trial, counts), model)
        yield from _removal(trial, model)
    if any(trial.model_copy(update={"arm": arm}).prunes_once for arm in named):
        yield from _pattern(trial, model)
    own = [trial.model_copy(update={"arm": arm}) for arm in sorted(named)]
    if reducing := [one for one in own if one.reduces]:
        yield from _reduction(reducing, model, drops or [trial.patch_drop])


def _reduction(
    trials: Iterable[TrialConfig], model: Capability, drops: Sequence[float]
) -> Iterator[tuple[str, str]]:
    """Models that a method cannot reduce, and numbers of tokens that cannot be."""
    found: list[str] = []
    for trial in trials:
        config = trial.completed().reduction
        if reason := why_not(config, model):
            found.append(reason)
            continue
        kept = [kept_of(trial, model, drop) for drop in drops]
        for count in kept if trial.parts.ticketed else [None]:
            try:
                block_tokens(config, model, count)
            except ValueError as error:
                found.append(str(error))
    for text in dict.fromkeys(found):
        name, _, rest = text.partition(" ")
        yield name.rstrip(":"), (":" if name.endswith(":") else "") + f" {rest}"


def _data(trial: TrialConfig, model: Capability, counts: Counts) -> Iterator[tuple[str, str]]:
    if model.logits < counts.classes:
        yield (
            "model.kwargs.num_classes",
            f" = {model.logits}: the data has {counts.classes} classes; remove it",
        )
    if model.channels != counts.channels:
        have = "1 channel" if counts.channels == 1 else f"{counts.channels} channels"
        yield "model.kwargs.in_chans", f" = {model.channels}: the images have {have}; remove it"
    for name in ("mean", "std"):
        given = getattr(trial.model, name)
        if given is not None and model.channels != 1 and len(given) not in (1, model.channels):
            yield (
                f"model.{name}",
                f": {len(given)} values; write {model.channels}, one per channel, or one for all",
            )


def _scores(trial: TrialConfig, model: Capability) -> Iterator[tuple[str, str]]:
    section = trial.tickets
    if section.score == "nested":
        yield from _selector(trial, model)
        return
    if section.score != "received" and not model.class_token:
        yield (
            "tickets.score",
            f" = {section.score}: reads the class token, and {trial.model.name} has none; write "
            "received",
        )
    if section.score == "rollout":
        if model.attention == "differential":
            yield (
                "tickets.score",
                f" = rollout: multiplies attention of all blocks, and in {trial.model.name} it is "
                "a difference that may be negative; write cls or received",
            )
    elif not -model.depth <= section.block < model.depth:
        yield (
            "tickets.block",
            f" = {section.block}: {trial.model.name} has blocks 0 to {model.depth - 1}",
        )


def _selector(trial: TrialConfig, model: Capability) -> Iterator[tuple[str, str]]:
    """What EViT cannot run, in words about tickets."""
    if not model.class_token:
        text = f"reads the class token, and {trial.model.name} has none; write received"
    elif model.undivided:
        text = f"{model.undivided.rpartition(';')[0]}; write cls"
    elif model.drops:
        text = "model.kwargs.patch_drop_rate drops patches inside the selector as well; remove it"
    else:
        return
    yield "tickets.score", f" = nested: {text}"


def _removal(trial: TrialConfig, model: Capability) -> Iterator[tuple[str, str]]:
    section = trial.tickets
    hides = section.removal in ("gather", "attention_mask")
    uneven = section.scope == "global"
    if uneven and hides and model.pool not in POOLS:
        yield (
            "tickets.scope",
            f" = global: the pool {model.pool!r} of {trial.model.name} cannot look at a different "
            f"number of patches for each image; write image, or a model.kwargs.global_pool of "
            f"{', '.join(POOLS)}",
        )
    alone = model.family == "VisionTransformer" and section.removal == "gather" and not uneven
    if model.drops and hides and not alone:
        yield (
            "model.kwargs.patch_drop_rate",
            ": the model drops patches itself, so it is not known which of them to hide; remove it",
        )


def _pattern(trial: TrialConfig, model: Capability) -> Iterator[tuple[str, str]]:
    if trial.essential.pattern == UNSTRUCTURED:
        return
    _, m = n_and_m(trial.essential.pattern)
    odd = [(name, inputs) for name, _, inputs in model.prunable if inputs % m]
    if odd:
        name, inputs = odd[0]
        yield (
            "essential.pattern",
            f" = {trial.essential.pattern}: {name} of {trial.model.name} has {inputs} inputs, "
            f"which do not divide into groups of {m}; choose an M that divides the model's widths",
        )
