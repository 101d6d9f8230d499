"""Data-LTH in a sweep file: what is refused, which trials there are, what they share."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.planning.plan import PlannedTrial, plan
from orchestrator.planning.problems import SweepError
from orchestrator.planning.sweepfile import load_sweep
from orchestrator.storage.keys import key_of
from orchestrator.worker.labels import trial_params

GOOD = """\
name: tiny
data: {name: digits}
model: {name: vit_tiny_patch16_224, pretrained: false,
        kwargs: {img_size: 16, patch_size: 2, depth: 4, embed_dim: 32, num_heads: 2}}
"""
NESTED = "tickets: {score: nested, weights: adapted}\nfinetune: {weights: random}\n"
KEEP = "tickets.nested_keep: [0.75]"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(GOOD + text, encoding="utf-8")
    return path


def planned(tmp_path: Path, text: str) -> list[PlannedTrial]:
    return list(plan(load_sweep(written(tmp_path, text))).trials)


BAD = {
    "a drop beside the selector's": (
        NESTED + "search: {arm: [tickets], patch_drop: [0.1], " + KEEP + "}\n",
        "tickets.score = nested sets how many patches stay (27 of 64 at 0.75): remove "
        "search.patch_drop",
    ),
    "a drop beside one of two scores": (
        "finetune: {weights: random}\nsearch: {arm: [tickets], patch_drop: [0.1], "
        "tickets.weights: [adapted], tickets.score: [nested], " + KEEP + "}\n",
        "search.tickets.score = nested sets how many patches stay (27 of 64 at 0.75)",
    ),
    "no share": (
        NESTED + "search: {arm: [tickets]}\n",
        "tickets.nested_keep: tickets.score = nested needs the share that each stage keeps",
    ),
    "a share for another score": (
        "tickets: {weights: adapted}\nfinetune: {weights: current}\n"
        "search: {arm: [tickets], " + KEEP + "}\n",
        "search.tickets.nested_keep = 0.75: is read by score: nested only",
    ),
    "a block": (
        NESTED.replace("adapted", "adapted, block: 2") + "search: {arm: [tickets], " + KEEP + "}\n",
        "tickets.score = nested with block: the three quarters are read; remove tickets.block",
    ),
    "a sink": (
        NESTED.replace("adapted", "adapted, sink: none")
        + "search: {arm: [tickets], "
        + KEEP
        + "}\n",
        "tickets.score = nested with sink: their attention is read as it is; remove tickets.sink",
    ),
    "rounding down": (
        NESTED.replace("adapted", "adapted, count: floor")
        + "search: {arm: [tickets], "
        + KEEP
        + "}\n",
        "tickets.count = floor: tickets.score = nested rounds up at every stage",
    ),
    "one threshold": (
        NESTED.replace("adapted", "adapted, scope: global")
        + "search: {arm: [tickets], "
        + KEEP
        + "}\n",
        "tickets.scope = global: tickets.score = nested keeps equally many patches of every image",
    ),
    "a selector for nobody": (
        "tickets: {weights: tuned}\nfinetune: {weights: current}\nsearch: {arm: [dense]}\n",
        "tickets.weights = tuned needs arm tickets or random_tickets",
    ),
    "a selector from which nothing leaves": (
        "tickets: {weights: tuned}\nfinetune: {weights: current}\nsearch: {arm: [tickets]}\n",
        "tickets.weights = tuned: is trained with patches leaving inside, which only",
    ),
    "a selector that is not tuned": (
        "dense: {epochs: 0}\n"
        + NESTED.replace("adapted", "tuned")
        + "search: {arm: [tickets], "
        + KEEP
        + "}\n",
        "tickets.weights = tuned: dense.epochs = 0 trains nothing; write tickets.tuning_epochs",
    ),
    "a model without a class token": (
        NESTED + "search: {arm: [tickets], model.kwargs.class_token: [false], "
        "model.kwargs.global_pool: [avg], " + KEEP + "}\n",
        "tickets.score = nested: reads the class token, and vit_tiny_patch16_224 has none; write "
        "received",
    ),
    "exposure in halving": (
        "tickets: {weights: adapted}\nfinetune: {weights: current, budget: exposure}\n"
        "search: {method: halving, arm: [tickets], patch_drop: [0.1, 0.2], seed: [0]}\n",
        "search.method = halving: stops trainings after equally many epochs",
    ),
    "exposure of one pass": (
        "tickets: {weights: adapted}\nfinetune: {weights: current, budget: exposure}\n"
        "issp: {preset: isp_published, start: adapted}\n"
        "search: {arm: [lotus], sparsity: [0.0]}\n",
        "finetune.budget = exposure: with `issp.rate: one_pass` rounds and recovery share the",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    text, message = BAD[name]
    with pytest.raises(SweepError) as caught:
        plan(load_sweep(written(tmp_path, text)))
    found = [str(problem) for problem in caught.value.problems]
    assert any(message in one for one in found), found
    assert all("\n" not in one for one in found)


THREE = NESTED.replace("adapted", "tuned") + (
    "search: {arm: [tickets, random_tickets, dense], tickets.nested_keep: [0.9, 0.75], "
    "seed: [0, 1]}\n"
)


def test_the_three_way_test_has_one_dense_and_one_selector_for_all_students(tmp_path: Path) -> None:
    found = planned(tmp_path, THREE)
    arms = [trial.config.arm for trial in found]
    assert sorted(arms) == ["dense"] * 2 + ["random_tickets"] * 4 + ["tickets"] * 4
    selectors: dict[Any, set[str]] = {}
    for trial in found:
        node = trial.graph.selector
        assert (node is None) == (trial.config.arm == "dense")
        if node is not None:
            place = trial.config.seed, trial.config.tickets.nested_keep
            selectors.setdefault(place, set()).add(key_of(node))
    assert len(selectors) == 4
    assert all(len(keys) == 1 for keys in selectors.values())
    assert len(set.union(*selectors.values())) == 4


def test_the_share_that_the_selector_drops_is_shown_as_the_axis_that_it_sets(
    tmp_path: Path,
) -> None:
    shown = {}
    for trial in planned(tmp_path, THREE):
        params = trial_params(trial, {})
        if trial.config.arm == "dense":
            assert not {"patch_drop", "tickets.nested_keep", "finetune.budget"} & params.keys()
            assert trial.name == f"dense-seed{trial.config.seed}"
        else:
            shown[params["tickets.nested_keep"]] = params["patch_drop"]
    assert shown == {0.9: 1 - 48 / 64, 0.75: 1 - 27 / 64}


def test_patches_are_rounded_down_where_that_is_asked_for(tmp_path: Path) -> None:
    text = "tickets: {weights: adapted, count: COUNT}\nfinetune: {weights: current}\n"
    text += "search: {arm: [random_tickets], patch_drop: [0.3]}\n"
    kept = {}
    for count in ("ceil", "floor"):
        (trial,) = planned(tmp_path, text.replace("COUNT", count))
        assert trial.axes["patch_drop"] == 0.3
        drops = {
            node.config.patch_drop  # type: ignore[attr-defined]
            for node in (trial.graph.tickets, trial.graph.profile)
            if node is not None
        }
        assert len(drops) == 1, "what is counted is what is kept"
        kept[count] = 64 * (1 - drops.pop())
    assert kept["floor"] == 44
    assert kept["ceil"] == pytest.approx(44.8), "rounded up by whoever keeps them"


def test_a_setting_at_its_default_is_in_no_key(tmp_path: Path) -> None:
    text = "tickets: {weights: adaptedMORE}\nfinetune: {weights: currentLESS}\n"
    text += "search: {arm: [tickets, random_tickets, lotus], patch_drop: [0.3]}\n"
    keys = [
        [trial.key for trial in planned(tmp_path, text.replace("MORE", more).replace("LESS", less))]
        for more, less in (("", ""), (", count: ceil", ", budget: epochs"), (", count: floor", ""))
    ]
    assert keys[0] == keys[1]
    assert not set(keys[0]) & set(keys[2])
