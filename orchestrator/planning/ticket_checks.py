"""Problems with how patches are selected: what each setting alone allows, but not together."""

from collections.abc import Iterator

from trials.arms import MASKED, RANDOM_PATCHES
from trials.config import TrialConfig
from trials.stages.attention import ReadAttention


def check_tickets(trial: TrialConfig, arms: set[str]) -> Iterator[tuple[str, str]]:
    """How patches are selected, against how images are augmented and trained on."""
    section, recovery = trial.tickets, trial.finetune
    if arms:
        yield from _check_nested(trial)
    if recovery.budget == "exposure" and arms.intersection(MASKED):
        yield from _check_exposure(trial)
    if recovery.data == "other_images":
        if RANDOM_PATCHES in arms:
            yield (
                "finetune.data",
                f" = other_images trains on all patches, so the arm {RANDOM_PATCHES} controls "
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


def _check_exposure(trial: TrialConfig) -> Iterator[tuple[str, str]]:
    """More epochs for fewer patches, where something else says how many steps there are."""
    if trial.issp.rate == "one_pass":
        yield (
            "finetune.budget",
            " = exposure: with `issp.rate: one_pass` rounds and recovery share the steps of "
            "finetune.epochs; write epochs",
        )


def _check_nested(trial: TrialConfig) -> Iterator[tuple[str, str]]:
    """The selector of Data-LTH: what it needs, and what it does not read."""
    section = trial.tickets
    if section.weights == "tuned":
        yield from _check_tuned(trial)
    if section.score != "nested":
        if section.nested_keep is not None:
            yield (
                "tickets.nested_keep",
                f" = {section.nested_keep:g}: is read by score: nested only; write it, or remove "
                "nested_keep",
            )
        return
    if section.nested_keep is None:
        yield (
            "tickets.nested_keep",
            ": tickets.score = nested needs the share that each stage keeps; write 0.9, say",
        )
    whole = {"block": "the three quarters are read", "sink": "their attention is read as it is"}
    for name, reason in whole.items():
        if getattr(section, name) != ReadAttention.model_fields[name].default:
            yield "tickets.score", f" = nested with {name}: {reason}; remove tickets.{name}"
    if section.count != "ceil":
        yield (
            "tickets.count",
            f" = {section.count}: tickets.score = nested rounds up at every stage; remove count",
        )
    if section.scope != "image":
        yield (
            "tickets.scope",
            f" = {section.scope}: tickets.score = nested keeps equally many patches of every "
            "image; write image",
        )


def _check_tuned(trial: TrialConfig) -> Iterator[tuple[str, str]]:
    if trial.tickets.score != "nested":
        yield (
            "tickets.weights",
            " = tuned: is trained with patches leaving inside, which only `score: nested` has; "
            "write it, or weights: adapted",
        )
    elif not (trial.tickets.tuning_epochs or trial.dense.epochs):
        yield (
            "tickets.weights",
            " = tuned: dense.epochs = 0 trains nothing; write tickets.tuning_epochs, or weights: "
            "adapted",
        )
