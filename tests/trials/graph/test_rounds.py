from collections.abc import Callable
from typing import Any

import pytest

from trials import run_trial
from trials.config import TrialConfig
from trials.data.datasets import Counts
from trials.graph.pipeline import TrialGraph, pipeline
from trials.graph.sources import Sources
from trials.sparsity import masks
from trials.sparsity.presets import PRESETS
from trials.stage import Node, Source, closure

COUNTS = Counts(train=1000, validation=200, test=500, classes=10, channels=1)
WHOLE = Sources(Source("data", "d"), Source("weights", "w"), fresh_head=False, counts=COUNTS)
Graph = Callable[..., TrialGraph]


def identity(node: Any) -> Any:
    """All that may tell two pieces of work apart, as a store would see it."""
    if not isinstance(node, Node):
        return node
    inputs = tuple((name, identity(value)) for name, value in node.inputs.items())
    return node.stage.name, node.config.model_dump_json(), node.seed, inputs


def stages(graph: TrialGraph, name: str) -> list[Any]:
    return [node for node in closure(graph.final) if node.stage.name == name]


@pytest.fixture(scope="module")
def graph(tiny_trial: Callable[..., TrialConfig]) -> Graph:
    def make(**changes: Any) -> TrialGraph:
        return pipeline(tiny_trial(**changes), WHOLE)

    return make


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_and_its_plain_settings_are_the_same_work(graph: Graph, name: Any) -> None:
    long = {"finetune": {"epochs": 30, "weights": "current"}}
    named, plain = graph(issp={"preset": name}, **long), graph(issp=dict(PRESETS[name]), **long)
    assert identity(named.final) == identity(plain.final)
    assert all("preset" not in node.config.model_dump() for node in closure(named.final))
    assert name == "default" or identity(named.final) != identity(graph(issp={}, **long).final)


PROGRESSIVE = {"rounds": 4, "round_training": "progressive", "steps": 2, "batch_size": 10}


def test_progressive_rounds_see_more_data_and_go_on_from_the_trained_weights(
    graph: Graph,
) -> None:
    made = graph(issp=PROGRESSIVE, mask_data_fraction=0.3)
    soups, merges, trained = (stages(made, name) for name in ("denoise", "issp", "soup_train"))
    assert len(soups) == len(merges) == len(trained) == 4
    for found in (soups, trained):
        assert [node.config.mask_data_fraction for node in found] == [0.3, 0.6, 0.9, 1.0]
    assert [node.config.round for node in trained] == [1, 2, 3, 4]
    for i, (soup, merge, train) in enumerate(zip(soups, merges, trained, strict=True)):
        theta = trained[i - 1] if i else made.dense
        assert soup.inputs["model"] is merge.inputs["model"] is train.inputs["model"] is theta
        assert train.inputs["mask"] is merge
        assert train.seed == 0
    assert made.soup_train is trained[-1]
    assert made.issp is made.mask is merges[-1]
    assert made.finetune.inputs["model"] is trained[-1]


@pytest.mark.parametrize(
    "changes",
    [
        {"finetune": {"weights": "pretrained"}},
        {"issp": PROGRESSIVE | {"weights": "rewind"}},
        {"issp": PROGRESSIVE | {"weights": "ingredient_mean"}},
    ],
    ids=["pretrained", "rewind", "ingredient_mean"],
)
def test_the_last_round_trains_only_where_its_weights_are_used(
    graph: Graph, changes: dict[str, Any]
) -> None:
    made = graph(**({"issp": PROGRESSIVE} | changes))
    assert made.soup_train is None
    assert "soup_train" not in made.stages()
    assert len(stages(made, "soup_train")) == 3, "the rounds between still go on"


def test_without_it_every_round_starts_from_the_dense_model(graph: Graph) -> None:
    made = graph(issp={"rounds": 3})
    assert stages(made, "soup_train") == []
    assert {id(node.inputs["model"]) for node in stages(made, "denoise")} == {id(made.dense)}
    fractions = {node.config.mask_data_fraction for node in stages(made, "denoise")}
    assert fractions == {0.1}


def test_the_last_round_of_an_inexact_merge_is_one_like_the_others(graph: Graph) -> None:
    def hits(**section: Any) -> list[bool]:
        return [n.config.last_hits_target for n in stages(graph(issp=section), "denoise")]

    assert hits(schedule="remaining", merge="union_kept") == [False]
    assert hits(schedule="remaining", merge="vote_topk") == [True]
    assert hits(schedule="cubic", merge="union_kept") == [True]


def test_the_estimate_counts_what_each_stage_trains(graph: Graph) -> None:
    def work(name: str, **section: Any) -> list[float]:
        made = graph(issp={"ingredients": 2, "batch_size": 10} | section, mask_data_fraction=0.3)
        return [node.work_macs() for node in stages(made, name)]

    (fixed,), (whole,) = work("denoise", steps=6), work("denoise", steps="pass")
    assert whole == pytest.approx(fixed * 300 / 60)
    growing = work("denoise", steps="pass", rounds=2, round_training="progressive")
    assert growing == pytest.approx([whole, 2 * whole])
    left = work("soup_train", steps=6, rounds=2, round_training="progressive")
    evaluation = work("issp")[0]
    per_step = fixed / 12
    assert left == pytest.approx([18 * per_step + evaluation, 48 * per_step + evaluation])


@pytest.mark.parametrize("preset", ["lotus_literal", "isp_paper"])
def test_a_trial_of_every_preset_runs_and_ends_where_it_says(
    tiny_trial: Callable[..., TrialConfig], preset: str
) -> None:
    section = {"preset": preset, "lr": 1e-3, "batch_size": 32, "ingredients": 4}
    section |= {
        "lotus_literal": {"steps": 2},
        "isp_paper": {"steps": 1, "rounds": 2},
    }[preset]
    trial = tiny_trial(arm="issp", sparsity=0.3, mask_data_fraction=0.5, issp=section)
    results = run_trial(trial).results
    first, found = results["essential"].keep, results["issp"].keep
    assert masks.contains(first, found)
    if preset == "lotus_literal":
        assert masks.sparsity(found) >= 1 - 0.7 * 0.3 - 1e-3
        assert len({masks.kept(keep) for keep in results["denoise"].keeps}) == 4
        return
    assert masks.kept(found) == masks.keep_count(masks.size(found), 0.5)
    state = results["finetune"].checkpoint.state
    assert not any(state[name][~keep].any() for name, keep in found.items())
    trained = results["soup_train"]
    assert trained.steps == 3, "a pass over 200 images is 7 steps, of which 4 are spent"
    assert all((trained.checkpoint.state[n] != 0).sum() == k.sum() for n, k in found.items())
