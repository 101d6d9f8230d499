"""Many trials of equal parts are built from the same objects, and mean the same work."""

from collections.abc import Callable
from typing import Any

from orchestrator.storage.keys import key_of
from trials.config import TrialConfig
from trials.data.datasets import Counts
from trials.graph.pipeline import pipeline
from trials.graph.shared import Shared
from trials.graph.sources import Sources
from trials.stage import Source, closure
from trials.stages.pretrained import PretrainedConfig

COUNTS = Counts(train=1000, validation=200, test=500, classes=10, channels=1)
WHOLE = Sources(Source("data", "d"), Source("weights", "w"), fresh_head=False, counts=COUNTS)


def points() -> list[dict[str, Any]]:
    """Trials that share much, little and, but for what reads them, everything."""
    arms = ("lotus", "random_patches", "random_mask", "issp", "tickets", "dense", "essential")
    return [
        {"arm": arm, "sparsity": level, "patch_drop": drop, "seed": seed}
        for arm in arms
        for level in (0.2, "auto")
        for drop in (0.0, 0.1)
        for seed in (0, 1)
    ]


def test_shared_parts_change_no_key_and_no_work(tiny_trial: Callable[..., TrialConfig]) -> None:
    base, shared = tiny_trial(), Shared()
    for point in points():
        trial = base.model_copy(update=point)
        alone, together = pipeline(trial, WHOLE), pipeline(trial, WHOLE, shared)
        assert {n: key_of(node) for n, node in alone.stages().items()} == {
            n: key_of(node) for n, node in together.stages().items()
        }
        works = [[node.work_macs() for node in closure(g.final)] for g in (alone, together)]
        assert works[0] == works[1]


def test_equal_stages_of_many_trials_are_one_node(tiny_trial: Callable[..., TrialConfig]) -> None:
    base, shared = tiny_trial(), Shared()
    graphs = [pipeline(base.model_copy(update=point), WHOLE, shared) for point in points()]
    nodes = {id(node): node for graph in graphs for node in closure(graph.final)}
    assert len(nodes) == len({key_of(node) for node in nodes.values()}) < 4 * len(graphs)


def test_values_that_only_compare_equal_are_not_taken_for_the_same() -> None:
    shared, section = Shared(), PretrainedConfig(name="vit", weights="random", mean=(1.0,))
    one = shared.part(section, PretrainedConfig, kwargs={"depth": 1})
    assert shared.part(section, PretrainedConfig, kwargs={"depth": 1}) is one
    flag = shared.part(section, PretrainedConfig, kwargs={"depth": True})
    assert flag.model_dump_json() != one.model_dump_json()
    other = shared.part(section.model_copy(), PretrainedConfig, kwargs={"depth": 1})
    assert other == one
