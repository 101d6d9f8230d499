"""A drafted sweep file as text: each choice with its reason."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from orchestrator.visible import visible

if TYPE_CHECKING:
    from orchestrator.commands.drafting import Wish
    from orchestrator.commands.fitting import Effort

WIDTH = 100

NEXT = (
    "Check it with `lotus doctor`, price it with `lotus plan`, run it with `lotus run`. Every "
    "setting may be changed; docs/sweep-file.md says what there is."
)


@dataclass(frozen=True, slots=True)
class About:
    """What the file says of itself.

    Attributes:
        made_for: pixels a side that the model was made for.
        patches: of an image, in the sweep.
        parts: images to train, to select on and to report on.
        cost: the forecast in words.
    """

    made_for: int
    patches: int
    parts: tuple[int, int, int]
    cost: str


def text(raw: dict[str, Any], effort: Effort, wish: Wish, about: About) -> str:
    """The file.

    Args:
        raw: what it says, as a mapping.
    """
    lines = [
        *comment(f"Written by `{wish.command}`. Forecast: {about.cost}."),
        *comment(NEXT),
    ]
    for name, value in raw.items():
        if name == "name":
            lines.append(section(name, value))
            continue
        reason = " ".join(_reasons(name, effort, wish, about))
        lines += ["", *comment(reason), *written(name, value)]
    return "\n".join(lines) + "\n"


def comment(words: str) -> list[str]:
    """Lines of a comment."""
    lines = textwrap.wrap(visible(words), WIDTH - 2, break_on_hyphens=False, break_long_words=False)
    return [f"# {line}" for line in lines]


def section(name: str, value: Any) -> str:
    """A setting on one line."""
    listed = yaml.safe_dump(
        [value], default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000
    )
    return f"{name}: {listed.strip()[1:-1]}"


def written(name: str, values: dict[str, Any]) -> list[str]:
    """A section: on one line where it fits, else a line for each setting."""
    line = section(name, values)
    if len(line) <= WIDTH:
        return [line]
    return [f"{name}:", *(f"  {section(key, value)}" for key, value in values.items())]


def _reasons(name: str, effort: Effort, wish: Wish, about: About) -> Iterator[str]:
    """Sentences about one section."""
    train, validation, test = about.parts
    adapted = wish.weights is not False
    if name == "data":
        yield from wish.data.said
        yield f"{train:,} to train, {validation:,} to select on and {test:,} to report on."
        if effort.images is not None:
            yield "That is a part of them, stratified by class, so that the budget is kept."
        if wish.data.absent:
            yield "They are not there yet; these are the published sizes."
    elif name == "model":
        yield from _of_model(effort, wish, about)
    elif name == "dense":
        how = "The model, adapted to these images" if adapted else "The model, trained from scratch"
        yield f"{how}: what every sparse one is compared with."
    elif name == "tickets":
        yield "Which patches are kept: the most attended ones."
        if not adapted:
            yield "Nothing is pretrained, so the dense model's attention is read."
    elif name == "essential":
        yield "The most sparsity that costs no more accuracy than `tolerance`, of these levels."
        yield f"{test:,} test images cannot tell apart what is much closer."
    elif name == "issp":
        yield "The second pruning, to this fraction of the weights."
    elif name == "finetune":
        yield "The recovery of each sparse model, from the weights that the pruning left."
    elif name == "search":
        yield "The full method, and what it is compared with, at the essential sparsity that each"
        yield "seed finds." + ("" if effort.seeds > 3 else " Three seeds are the fewest that say "
                               "something about other seeds.")  # fmt: skip
    elif name == "resources":
        yield "Of each trial; as many run at once as there is room for."


def _of_model(effort: Effort, wish: Wish, about: About) -> Iterator[str]:
    if isinstance(wish.weights, str):
        yield "With the weights of a file,"
    else:
        yield "With timm's weights," if wish.weights else "From random weights,"
    if effort.pixels == about.made_for:
        yield f"at the {about.made_for} pixels a side that it was made for:"
    else:
        yield f"at {effort.pixels} pixels a side (made for {about.made_for}):"
    yield f"{about.patches} patches an image."
