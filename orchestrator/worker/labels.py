"""How the runs of stages and trials are called, and by what they are found again."""

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.planning.config import flat
from orchestrator.planning.plan import PlannedTrial
from orchestrator.storage.keys import key_of
from orchestrator.storage.store import Entry
from orchestrator.versions import in_words
from orchestrator.vocabulary import Tag
from trials.graph.pipeline import TrialGraph
from trials.reduction.config import tokens_text
from trials.stage import Node
from trials.stages.essential import Probe
from trials.stages.probe import as_one_shot


def probe_run_name(result: Probe, node: Node[Any]) -> str:
    """`stage-probe-s0.34-seed0-…`; `stage-probe-idle-…` when nothing was left to measure."""
    level = "idle" if result.sparsity is None else f"s{result.sparsity:.2f}"
    return _stage_name(["probe", level], node)


def curve_level(node: Node[Any], result: Any, graph: TrialGraph) -> tuple[float, str] | None:
    """The level of the one-shot curve that a stage measured, and the key of its evaluation.

    A probe carries the key of the plain stage at its level, so that a trial which names that
    level is the same measurement. None for what is not on the curve of `sparsity: auto`, and
    for a probe that had nothing left to do.
    """
    if key_of(node) not in map(key_of, graph.curve):
        return None
    if isinstance(result, Probe):
        if result.sparsity is None:
            return None
        return result.sparsity, key_of(as_one_shot(node, result.sparsity))
    level: float = node.config.model_dump()["sparsity"]
    return level, key_of(node)


def stage_run_name(node: Node[Any], name: str) -> str:
    """`stage-denoise-f0.10-seed0-1b2c3d4e`: the settings that the stage has and the sweep may vary.

    Trials of an arm may be called `dense-seed0` as well, and stages may differ in settings that the
    name does not hold: the first word and the digits of the key tell them apart.
    """
    parts = [name]
    config = node.config.model_dump()
    if config.get("criterion", "magnitude") != "magnitude":
        parts.append(config["criterion"])
    for field_name, letter in (("sparsity", "s"), ("patch_drop", "d"), ("mask_data_fraction", "f")):
        if config.get(field_name) is not None:
            parts.append(f"{letter}{config[field_name]:.2f}")
    return _stage_name(parts, node)


def _stage_name(parts: Iterable[str], node: Node[Any]) -> str:
    seed = [] if node.seed is None else [f"seed{node.seed}"]
    return "-".join(["stage", *parts, *seed, key_of(node)[:8]])


def trial_params(trial: PlannedTrial, results: Mapping[str, Any]) -> dict[str, Any]:
    """The axes that the arm uses and the resolved configuration, flat and dotted.

    Args:
        results: of its stages; without the one that picks a sparsity `auto` is absent.
    """
    axes = dict(trial.axes)
    if axes.get("sparsity") == "auto":
        del axes["sparsity"]
        if "pick" in results:
            axes["sparsity"] = results["pick"].sparsity
    points = ("arm", "sparsity", "patch_drop", "mask_data_fraction", "seed")
    written = flat(trial.config).items()
    settings = {k: v for k, v in written if k not in points and trial.config.reads(k)}
    return settings | axes


def axis_metrics(trial: PlannedTrial, results: Mapping[str, Any]) -> dict[str, float]:
    """The axes of a trial that are numbers, so that MLflow compares them as numbers.

    Params are text there: `params.sparsity > 0.2` cannot be asked, `metrics.sparsity > 0.2` can.
    """
    params, axes = trial_params(trial, results), set(trial.axes) - {"rung"}
    return {
        name: float(params[name])
        for name in axes & params.keys()
        if isinstance(params[name], int | float) and not isinstance(params[name], bool)
    }


def stage_tags(trial: PlannedTrial) -> dict[str, str]:
    """The lineage: which stage results the trial is made of."""
    return {Tag.STAGE_OF + name: key_of(node) for name, node in trial.graph.stages().items()}


def trial_tags(trial: PlannedTrial) -> dict[str, str]:
    """What the run of a trial is tagged with from its beginning."""
    tags = {Tag.ARM: trial.config.arm} | stage_tags(trial)
    if trial.config.rungs:
        tags[Tag.RUNG] = str(trial.config.rungs[-1])
    if trial.axes.get("sparsity") == "auto":
        tags[Tag.SPARSITY] = "auto"
    if trial.tokens:
        tags[Tag.TOKENS] = tokens_text(trial.tokens)
    return tags


def made_with(entries: Iterable[Entry]) -> dict[str, str]:
    """The versions of everything that a result is made of."""
    text = in_words(entry.versions for entry in entries)
    return {Tag.MADE_WITH: text} if text else {}


def memory_tags(micro_batch: int | None) -> dict[str, str]:
    """That memory ran out, and how many images at a time it allowed then."""
    return {} if micro_batch is None else {Tag.MICRO_BATCH: str(micro_batch)}
