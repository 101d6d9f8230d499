"""The model card: what a model is, how it was made, what it is worth, and its limits.

Markdown with the fields of the Hugging Face hub in front. The hub reads `model-index` for its
tables; people read the rest. It stands beside an exported model, in the folder of the published
one, and without the fields as the description of a registered one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from orchestrator.publishing.card import ALL, Row, card, measured, number
from orchestrator.publishing.datasets import KnownData
from orchestrator.selection.statistics import wilson
from orchestrator.visible import markdown, markdown_code, one_line
from orchestrator.vocabulary import Metric, Tag

CONFIDENCE = 0.95
DASH = "–"

LINEAGE = {
    "dense": "the dense model, trained on the data",
    "tickets": "the patches that each image keeps",
    "essential": "the first mask: the smallest weights pruned in one shot",
    "denoise": "candidate masks from brief trainings on little data",
    "issp": "the final mask: pruned again with the denoised mask",
    "control": "the mask of a control",
    "finetune": "the checkpoint: the sparse model, fine-tuned",
}
"""Stages in the order in which a model is made, and what each gives."""

LIMITS = (
    "Accuracy was measured on the test images above. On other images it may be another.",
    "Each interval is for this model: it says what other test images of the same kind would give, "
    "not what another seed would give. The sweep's report has both.",
    "Zeros in the weights make nothing faster on dense hardware. Fewer patches do.",
    "No licence is named: that of the weights which it was made from, and of the data, is not "
    "known here.",
)
OPTIMISTIC = (
    "It began with weights that were trained elsewhere. If they have seen these images, all "
    "accuracies are optimistic."
)


@dataclass(frozen=True, slots=True)
class Described:
    """What a card tells of.

    Attributes:
        row: params and metrics of the trial's run.
        stages: name -> key of the stage results that it is made of.
        made_with: the versions that computed them.
        answer: sentences of the sweep's report on it; empty = it is not the recommended one.
    """

    name: str
    key: str
    row: Row
    stages: Mapping[str, str]
    made_with: str | None = None
    data: KnownData | None = None
    answer: Sequence[str] = field(default=())


def described(
    name: str, row: Row, tags: Mapping[str, str], data: KnownData | None, answer: Sequence[str] = ()
) -> Described:
    """The same from what MLflow has.

    Args:
        tags: of the trial's run.
    """
    stages = {
        tag.removeprefix(Tag.STAGE_OF): key
        for tag, key in tags.items()
        if tag.startswith(Tag.STAGE_OF)
    }
    made_with = tags.get(Tag.MADE_WITH)
    return Described(name, tags[Tag.KEY], row, stages, made_with, data, answer)


def said_of_setting(answer: Mapping[str, str | None]) -> list[str]:
    """The sentences of a sweep's answer that are about the recommended setting."""
    return [sentence for name in ("recommended", "saves", "costs") if (sentence := answer[name])]


def model_card(about: Described, usage: str = "") -> str:
    """The whole card.

    Args:
        usage: Markdown on how the model is loaded.
    """
    front = yaml.safe_dump(_fields(about), sort_keys=False, allow_unicode=True, width=1000)
    classes = _classes(about.data)
    return f"---\n{front}---\n\n{card_text(about)}{usage}{classes}"


def card_text(about: Described) -> str:
    """The card for people, without the names of classes, of which there may be thousands."""
    parts = [f"# {markdown(about.name)}", card(about.name, about.row)]
    if about.answer:
        sentences = "\n".join(f"- {markdown(sentence)}" for sentence in about.answer)
        parts += ["## What the sweep found of its setting", sentences]
    parts += ["## Accuracy", _table(about.row), "## How it was made", _lineage(about)]
    limits = [*LIMITS, *([OPTIMISTIC] if about.row.get("model.pretrained") != "False" else [])]
    parts += ["## Limits", "\n".join(f"- {sentence}" for sentence in limits)]
    return "\n\n".join(parts) + "\n"


def _fields(about: Described) -> dict[str, Any]:
    """What the hub reads of a card."""
    row, readings = about.row, measured(about.row)
    data = one_line(str(row.get("data.name", "unknown")))
    found = [
        {"type": "accuracy", "name": f"Accuracy on {what}", "value": reading["test_accuracy"]}
        for what, reading in (
            ("whole images", readings["whole_images"]),
            ("the patches that it keeps", readings["deployed"]),
        )
        if reading["test_accuracy"] is not None
    ]
    task = {"type": "image-classification"}
    result = {"task": task, "dataset": {"name": data, "type": data, "split": "test"}}
    return {
        "library_name": "timm",
        "pipeline_tag": task["type"],
        "tags": ["image-classification", "timm", "sparse", "lotus"],
        "datasets": [data],
        "metrics": ["accuracy"],
        "model-index": [{"name": one_line(about.name), "results": [result | {"metrics": found}]}],
    }


def _table(row: Row) -> str:
    """Accuracies with their intervals, each beside the cost of the same forward pass."""
    readings = measured(row)
    lines = [
        f"| Runs | Images | Right | {100 * CONFIDENCE:g} % interval | MACs an image |",
        "|---|---|---|---|---|",
    ]
    for name in ("whole_images", "deployed"):
        reading = readings[name]
        if name == "deployed" and reading["tokens"] == ALL:
            continue
        for short, split in (("test", "test"), ("val", "validation")):
            share, count = reading[f"{short}_accuracy"], readings["images"][split]
            cells = (
                markdown(reading["tokens"]),
                f"{_grouped(count)} {split}",
                _percent(share),
                _interval(share, count),
                _grouped(reading["macs"]),
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _grouped(value: float | None) -> str:
    return DASH if value is None else f"{value:,.0f}"


def _percent(share: float | None) -> str:
    return DASH if share is None else f"{100 * share:.1f} %"


def _interval(share: float | None, count: int | None) -> str:
    """Of what other images of the kind would give (Wilson)."""
    if share is None or not count:
        return DASH
    low, high = wilson(share, count, CONFIDENCE)
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def _lineage(about: Described) -> str:
    """From the data to the checkpoint, each by its key in the store."""
    row, data = about.row, about.data
    name = markdown_code(str(row.get("data.name", "unknown")))
    digest = f", digest `{data.digest}`, {data.classes:,} classes" if data else ""
    lines = [
        f"1. Data: {name}{digest}.",
        f"2. Model: timm's {markdown_code(str(row.get('model.name')))}, "
        f"`pretrained: {markdown(str(row.get('model.pretrained')))}`.",
    ]
    steps = [stage for stage in LINEAGE if stage in about.stages]
    lines += [
        f"{place}. `{stage}`: {LINEAGE[stage]}. Key `{about.stages[stage]}`."
        for place, stage in enumerate(steps, start=3)
    ]
    facts = [f"The trial is {markdown_code(about.name)}, key `{about.key}`."]
    if (sparsity := number(row, Metric.FINAL_SPARSITY)) is not None:
        facts.append(f"{_percent(sparsity)} of its prunable weights are exactly 0.")
    if about.made_with:
        facts.append(f"Computed with {markdown(about.made_with)}.")
    return "\n".join(lines) + "\n\n" + " ".join(facts)


def _classes(data: KnownData | None) -> str:
    """The names of classes, in the order of the model's outputs."""
    if data is None or not data.class_names:
        return ""
    rows = "\n".join(f"- {label}: {markdown(name)}" for label, name in enumerate(data.class_names))
    return f"\n## Classes\n\nIn the order of the outputs, counted from 0.\n\n{rows}\n"
