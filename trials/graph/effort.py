"""How many images go through models until a trial's model is there.

From settings and the sizes of the data set alone: nothing runs. What an evaluation looks at is
left out, and so is what a stage of the trial computes that its model does not rest on (scores
where patches are drawn at random; the recovery that only measures a one-shot mask).

Two stages may find nothing left to do when they run: a round that starts near its target, and a
probe of a curve whose bracket is narrow. They count as if they had worked.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from trials.data.datasets import Counts
from trials.model.cost import Passes
from trials.sparsity.criteria import CRITERIA
from trials.stage import Node
from trials.stages.attention import AttentionConfig
from trials.stages.calibrate import CalibrateConfig
from trials.stages.denoise import DenoiseConfig
from trials.stages.dense import DenseConfig
from trials.stages.essential import OneShotConfig
from trials.stages.finetune import Finetuned, RecoverConfig
from trials.stages.probe import ProbeConfig
from trials.stages.recovered import RecoveredConfig
from trials.stages.reduced import ReducedConfig
from trials.stages.round_train import RoundTrainConfig
from trials.stages.soup_train import SoupTrainConfig
from trials.stages.tickets import Tickets, TicketsConfig
from trials.training.budget import left_steps, look_ahead_steps, share_images, step_images

DECIDING = ("curve", "probes")
"""Inputs that are read for what they measured, so that the measuring is part of the work."""


def passes_of(recovery: Node[Finetuned], counts: Counts) -> Passes:
    """What all stages do on which a recovered model rests, itself included, each once."""
    nodes = _needed(recovery)
    decide = {id(one) for node in nodes for one in _deciding(node)}
    found = Counter[str]()
    for node in nodes:
        found.update(_own(node, counts, decides=id(node) in decide, last=node is recovery))
    return Passes.model_validate(found)


def reads_scores(tickets: Node[Tickets]) -> bool:
    """Whether a model has to look at an image before its kept patches are known."""
    cfg = tickets.config
    if not isinstance(cfg, TicketsConfig):
        raise TypeError(f"{tickets.stage.name} makes no tickets")
    drawn = cfg.select == "random_fixed" and cfg.scope == "image"
    return cfg.patch_drop > 0 and not drawn


def _needed(node: Node[Any]) -> list[Node[Any]]:
    """The node and what it rests on, each once."""
    found: dict[int, Node[Any]] = {}
    seen: set[tuple[int, bool]] = set()

    def visit(current: Node[Any], decides: bool) -> None:
        found[id(current)] = current
        if (id(current), decides) not in seen:
            seen.add((id(current), decides))
            deciding = {id(one) for one in _deciding(current)}
            for parent in _parents(current, decides):
                visit(parent, id(parent) in deciding)

    visit(node, False)
    return list(found.values())


def _parents(node: Node[Any], decides: bool) -> Iterator[Node[Any]]:
    """What a stage's result rests on.

    Args:
        decides: whether it is read for what it measured, and not for its mask alone.
    """
    cfg, tickets = node.config, node.inputs.get("tickets")
    if isinstance(cfg, RecoveredConfig) and not decides:
        mask = node.inputs["mask"]
        yield from [mask] if isinstance(mask, Node) else []
        return
    if isinstance(cfg, TicketsConfig) and not reads_scores(node):
        return
    # Only the number of a ticket's patches counts, and with one for all images that is known.
    counted = isinstance(cfg, RecoverConfig) and (cfg.patches == "random" or cfg.online is not None)
    for parent in node.parents():
        if not (parent is tickets and counted and _equal_counts(parent)):
            yield parent


def _equal_counts(tickets: Node[Tickets]) -> bool:
    return isinstance(tickets.config, TicketsConfig) and tickets.config.scope == "image"


def _deciding(node: Node[Any]) -> Iterator[Node[Any]]:
    for name in DECIDING:
        found = node.inputs.get(name)
        if isinstance(found, tuple):
            yield from found


def _own(node: Node[Any], counts: Counts, *, decides: bool, last: bool) -> dict[str, int]:
    """Of one stage alone, by the names of `Passes`.

    Args:
        last: whether it is the recovery that is asked about.
    """
    train, trained, looked_at = counts.train, 0, 0
    match cfg := node.config:
        case ReducedConfig() if not last:
            return {"tuned": cfg.epochs * train}
        case RecoverConfig():
            return _recovery(node, cfg, counts)
        case DenseConfig() if cfg.train == "head":
            looked_at = cfg.epochs * train
        case DenseConfig():
            trained = cfg.epochs * train
        case AttentionConfig():
            return {_scoring(cfg): train}
        case CalibrateConfig() if CRITERIA[cfg.criterion].needs == "gradients":
            trained = cfg.calibration_images
        case CalibrateConfig():
            looked_at = cfg.calibration_images
        case OneShotConfig() if decides:
            trained = cfg.epochs * train
        case ProbeConfig():
            trained = cfg.one_shot.epochs * train
        case DenoiseConfig():
            images = share_images(train, cfg.mask_data_fraction)
            batch = cfg.recipe.batch_size if cfg.recipe else cfg.batch_size
            steps = look_ahead_steps(cfg.steps, images, batch)
            trained = cfg.ingredients * step_images(steps, images, batch)
        case RoundTrainConfig():
            trained = step_images(cfg.span.steps, train, cfg.recipe.batch_size)
        case SoupTrainConfig():
            images = share_images(train, cfg.mask_data_fraction)
            spent = cfg.ingredients if cfg.count_look_ahead else 0
            steps = left_steps(cfg.steps, spent, images, cfg.batch_size)
            trained = step_images(steps, images, cfg.batch_size)
    return {"trained": trained, "looked_at": looked_at}


def _recovery(node: Node[Any], cfg: RecoverConfig, counts: Counts) -> dict[str, int]:
    seen = share_images(counts.train, cfg.other_than) if cfg.other_than else 0
    images = cfg.epochs * (counts.train - seen)
    if cfg.span is not None:
        images = step_images(cfg.span.steps, counts.train - seen, cfg.batch_size)
    tickets = node.inputs.get("tickets")
    scored = isinstance(tickets, Node) and reads_scores(tickets)
    kind = "trained_kept" if cfg.patches != "all" else "trained"
    found = Counter({"trained_reduced" if isinstance(cfg, ReducedConfig) else kind: images})
    found["looked_at"] += images * (node.inputs.get("teacher") is not None)
    if cfg.online is not None and scored:
        found[_scoring(cfg.online)] += images
    return found


def _scoring(cfg: AttentionConfig) -> str:
    """Where what a scoring model looks at is counted."""
    return "selected" if cfg.score == "nested" else "looked_at"
