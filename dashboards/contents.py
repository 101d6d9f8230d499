"""Which sections the page has, in which order, and what to add for those that it lacks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Shown = Mapping[str, Any]
"""What the template shows, by name."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section: its anchor, its title in the contents, and when it stands on the page.

    Attributes:
        advice: what to add to the sweep file to fill it; None = it simply does not apply.
    """

    name: str
    title: str
    applies: Callable[[Shown], Any]
    advice: str | None = None


def _always(_: Shown) -> bool:
    return True


def _table(name: str) -> Callable[[Shown], Any]:
    return lambda shown: shown[name].rows


SECTIONS = (
    Section("answer", "The answer", _always),
    Section("numbers", "In numbers", _always),
    Section(
        "essential", "Essential sparsity", _table("curve"),
        "No essential-sparsity curve was measured: add `essential` or `lotus` to `search.arm` and "
        "levels to `search.sparsity` in the sweep file.",
    ),
    Section(
        "pareto", "Accuracy against cost",
        lambda shown: shown["figures"]["pareto"] or shown["pareto"].rows,
    ),
    Section(
        "arms", "Arms and controls", _table("arms"),
        "No arm has a test accuracy yet: add arms and controls to `search.arm` in the sweep file, "
        "such as `[dense, lotus, random_patches, random_mask, magnitude]`.",
    ),
    Section("systems", "Seed systems", lambda shown: shown["systems"]),
    Section(
        "issp", "Mask data fraction", _table("fractions"),
        "Instant-Soup pruning was not run: add `issp` or `lotus` to `search.arm` and values such "
        "as `[0.1, 0.3, 1.0]` to `search.mask_data_fraction` in the sweep file.",
    ),
    Section("halving", "Halving", _table("halving")),
    Section(
        "finetune", "Fine-tuning", _table("finetune"),
        "No fine-tuning curve was recorded: let at least one trial finish with `finetune.epochs` "
        "of 1 or more in the sweep file.",
    ),
    Section(
        "tickets", "Data lottery tickets", lambda shown: shown["gallery"] or shown["pictures"],
        "No ticket pictures were recorded: add `tickets` or `lotus` to `search.arm` and a value "
        "above 0 to `search.patch_drop` in the sweep file.",
    ),
    Section(
        "overlap", "Masks",
        lambda shown: (
            shown["overlap"].rows or shown["one_shot"].rows or shown["figures"]["overlap"]
        ),
        "No two masks differ in one thing only: add values to `search.seed`, "
        "`search.mask_data_fraction` or `search.sparsity`, with `issp` or `lotus` in "
        "`search.arm`.",
    ),
    Section("cost", "Cost", _always),
    Section(
        "claims", "The paper's claims", lambda shown: [c for c in shown["claims"] if c.ours],
        "None of the paper's claims was measured: `lotus run lotus-paper` is a sweep that "
        "measures them all.",
    ),
    Section(
        "diagnosis", "Why ISSP collapses", lambda shown: shown["causes"],
        "No two settings of ISSP differ in one thing only: vary one suspect at a time, such as "
        "`issp.merge: [vote_topk, union_pruned]` in a block of `search` in the sweep file.",
    ),
    Section("trials", "All trials", _always),
    Section("missing", "Not measured", _always),
    Section("made", "Reproduce", _always),
)  # fmt: skip
"""The sections in the order of the page."""


def of(shown: Shown) -> dict[str, Any]:
    """`contents` (anchor, title), `on` (anchors) and `advice`, from what the template shows."""
    there = [section for section in SECTIONS if section.applies(shown)]
    names = {section.name for section in there}
    return {
        "contents": [(section.name, section.title) for section in there],
        "on": names,
        "advice": [s.advice for s in SECTIONS if s.name not in names and s.advice],
    }
