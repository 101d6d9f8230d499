"""What a sweep consists of and will cost, before anything runs."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import timm

from orchestrator import notices
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import plan
from orchestrator.search import Outcome
from orchestrator.storage.keys import key_of
from orchestrator.worker.job import Job, job_of
from trials.errors import DataError
from trials.graph.sources import open_sources
from trials.stage import closure

Tiny = Callable[..., SweepConfig]

GRID = "search: {sparsity: [0.2, 0.3], patch_drop: [0.1, 0.2], arm: [lotus, dense, magnitude]}\n"


def test_every_stage_is_listed_once_and_after_its_parents(tiny: Tiny) -> None:
    planned = plan(tiny(GRID))
    order = {key: i for i, key in enumerate(planned.nodes)}
    assert len(order) == len({key_of(node) for node in planned.nodes.values()})
    for key, node in planned.nodes.items():
        assert all(order[key_of(parent)] < order[key] for parent in node.parents())


def test_shared_stages_are_those_of_two_trials_and_the_dense_model(tiny: Tiny) -> None:
    planned = plan(tiny(GRID))
    for key, node in planned.nodes.items():
        users = sum(key in map(key_of, closure(t.graph.final)) for t in planned.trials)
        assert planned.users[key] == users
        expected = users >= 2 or node.stage.name in ("pretrained", "dense")
        assert (key in planned.shared) == expected
    names = [node.stage.name for node in planned.shared.values()]
    assert names.count("dense") == 1
    assert names.count("denoise") == names.count("issp") == 2  # one a level
    assert names.count("tickets") == 2  # one a drop
    assert not {t.key for t in planned.trials} & set(planned.shared)


def test_a_single_trial_shares_only_its_dense_model(tiny: Tiny) -> None:
    names = [node.stage.name for node in plan(tiny()).shared.values()]
    assert names == ["pretrained", "dense"]


def test_every_stage_can_be_built_again_from_its_owner(tiny: Tiny) -> None:
    planned = plan(tiny(GRID))
    for key in planned.nodes:
        assert key in map(key_of, closure(planned.owner[key].graph.final))


def test_an_auto_level_is_a_stage_after_the_whole_curve(tiny: Tiny) -> None:
    planned = plan(tiny("search: {sparsity: [auto]}\nessential: {levels: [0.1, 0.2, 0.3]}\n"))
    (trial,) = planned.trials
    assert trial.name == "lotus-sauto-d0.10-f0.10-seed0"
    pick = trial.graph.pick
    assert pick is not None
    levels = [n for n in pick.parents() if n.stage.name == "essential"]
    assert [n.config.model_dump()["sparsity"] for n in levels] == [0.1, 0.2, 0.3]
    assert trial.graph.essential is not None
    assert pick in list(trial.graph.essential.parents())


def test_the_curve_of_an_auto_level_has_runs_of_its_own(tiny: Tiny) -> None:
    planned = plan(
        tiny(
            "search: {sparsity: [auto], arm: [magnitude, essential]}\n"
            "essential: {levels: [0.3, 0.6], refine: 0.1}\n"
        )
    )
    control, auto = planned.trials
    assert auto.graph.pick is not None
    curve = [key_of(node) for node in auto.graph.curve]
    assert [planned.shared[key].stage.name for key in curve] == ["essential"] * 2 + ["probe"] * 2
    assert control.graph.control is not None
    assert key_of(control.graph.control) == curve[1], "the control at 0.6 is the same work"
    assert planned.owner[curve[1]] is auto, "its run must show the level, not the control"


def test_data_is_opened_once_for_all_trials(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    real = open_sources

    def counted(*args: object) -> object:
        opened.append(args)
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setitem(plan.__globals__, "open_sources", counted)
    plan(tiny(GRID))
    assert len(opened) == 1
    planned = plan(tiny("search: {data.split_seed: [0, 1]}\n"))
    assert len(opened) == 1 + 2
    digests = {planned.sources_of(t.config).sources.data.digest for t in planned.trials}
    assert len(digests) == 2


def test_data_that_is_absent_is_refused_in_words(tiny: Tiny) -> None:
    with pytest.raises(DataError, match=r"data\.root"):
        plan(tiny("", "data.name=cifar10", "data.root=/nowhere/at/all", "data.train_images=null"))


def test_criteria_on_an_axis_share_the_dense_model_and_nothing_after_it(tiny: Tiny) -> None:
    planned = plan(
        tiny(
            "search: {arm: [essential, magnitude], sparsity: [0.2, 0.3], "
            "essential.criterion: [magnitude, wanda]}\n"
        )
    )
    made = [t for t in planned.trials if t.config.arm == "essential"]
    assert [t.name for t in made] == [
        f"essential-s{level}-seed0-essential.criterion={criterion}"
        for level in ("0.20", "0.30")
        for criterion in ("magnitude", "wanda")
    ]
    assert len({t.key for t in made}) == 4
    assert len({key_of(t.graph.dense) for t in made}) == 1
    assert len({key_of(t.graph.stages()["essential"]) for t in made}) == 4
    calibrations = [n for n in planned.nodes.values() if n.stage.name == "calibrate"]
    assert len(calibrations) == 1, "the levels share the scores"
    assert key_of(calibrations[0]) in planned.shared
    controls = [t for t in planned.trials if t.config.arm == "magnitude"]
    assert len(controls) == 1, "a control does not have the criterion"


def test_a_stopped_trial_is_named_by_its_rung_and_no_shared_stage(tiny: Tiny) -> None:
    halving = tiny("search: {method: halving, sparsity: [0.1, 0.3]}\n", "finetune.epochs=5")
    planned = plan(halving)
    assert [t.name for t in planned.trials] == [
        "lotus-s0.10-d0.10-f0.10-seed0-rung1", "lotus-s0.30-d0.10-f0.10-seed0-rung1",
    ]  # fmt: skip
    assert (planned.complete, planned.expected) == (False, 2 + 1 + 1)
    ends = {t.key: Outcome({"rung/val_accuracy": t.config.sparsity}) for t in planned.trials}
    later = plan(halving, ends)
    assert [t.name for t in later.trials][2:] == ["lotus-s0.30-d0.10-f0.10-seed0-rung3"]
    assert not {t.key for t in later.trials} & set(later.shared)
    assert later.trials[2].key in later.nodes


def test_a_job_survives_as_text(tiny: Tiny) -> None:
    for trial in plan(tiny(GRID)).trials:
        assert Job.of_text(job_of(trial).text()) == job_of(trial)


def test_a_large_plan_takes_little_time_and_builds_each_stage_once(tiny: Tiny) -> None:
    levels = [round(0.5 * i / 50, 6) for i in range(1, 51)]
    axes = {"sparsity": levels, "patch_drop": [0.1, 0.2], "seed": list(range(20))}
    sweep = tiny(f"search: {json.dumps(axes)}\n")
    plan(tiny())  # imports
    start = time.process_time()
    planned = plan(sweep)
    keys, shared = planned.nodes, planned.shared
    assert (time.process_time() - start) / 2000 < 0.002  # was 0.04
    assert len(planned.trials) == 2000
    assert len(shared) < len(keys)
    nodes = {id(node) for trial in planned.trials for node in closure(trial.graph.final)}
    assert len(nodes) == len(keys)


def test_weights_are_one_thing_however_they_are_named(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By file, by folder, or with the model as the name of a folder."""
    base = tiny()
    told: list[str] = []
    monkeypatch.setattr(notices, "_listeners", [told.append])
    monkeypatch.setattr(notices, "_said", set())
    model = timm.create_model(base.model.name, **base.model.kwargs | {"num_classes": 3})
    timm.models.save_for_hf(model, str(tmp_path / "m"), safe_serialization=True)
    file, folder = (
        plan(tiny("", f"model.pretrained={tmp_path}/m{end}")).trials[0]
        for end in ("/model.safetensors", "")
    )
    assert file.key == folder.key
    (named,) = plan(tiny("", f"model.name=local-dir:{tmp_path}/m", "model.pretrained=true")).trials
    assert named.config.model.name == base.model.name
    assert named.config.model.pretrained == tmp_path / "m"
    assert str(tmp_path) not in named.graph.pretrained.config.model_dump_json()
    job = job_of(named)
    assert Job.of_text(job.text()).config == named.config
    assert (
        told[0] == f"model.pretrained = {tmp_path}/m/model.safetensors: fresh: head; left out: head"
    )
