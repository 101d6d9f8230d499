"""What a sweep consists of and will cost, before anything runs."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.config import SweepConfig
from orchestrator.keys import key_of
from orchestrator.planning import ASSUMED_MACS_PER_S, Plan, forecast, missing_nodes, plan
from orchestrator.search import Outcome
from orchestrator.store import Entry
from orchestrator.worker import Job, job_of
from trials.errors import DataError
from trials.sources import open_sources
from trials.stage import closure

Tiny = Callable[..., SweepConfig]

GRID = "search: {sparsity: [0.2, 0.3], patch_drop: [0.1, 0.2], arm: [lotus, dense, magnitude]}\n"


def stored(planned: Plan, keys: set[str] | None = None, speed: float = 1e6) -> list[Entry]:
    """Entries as the store has them, computed at `speed` multiply-accumulates a second."""
    return [
        Entry(
            key=key, stage=node.stage.name, version=1, object="o", bytes=1000,
            seconds=max(node.work_macs(), 1.0) / speed, work_macs=node.work_macs(), device="cpu",
            host="h", versions={}, created=0.0,
        )
        for key, node in planned.nodes.items()
        if keys is None or key in keys
    ]  # fmt: skip


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


def test_an_empty_store_gives_a_guess_that_says_so(tiny: Tiny) -> None:
    planned = plan(tiny())
    found = forecast(planned, [])
    assert (found.stages, found.stored, found.bytes, found.measured) == (10, 0, 0, 0.0)
    macs = sum(node.work_macs() for node in planned.nodes.values())
    assert found.device_hours == pytest.approx(macs / ASSUMED_MACS_PER_S["cpu"] / 3600)
    assert found.device_hours > 0


def test_the_forecast_falls_to_nothing_as_the_store_fills(tiny: Tiny) -> None:
    planned = plan(tiny(GRID))
    keys: set[str] = set()
    before = float("inf")
    for key in planned.nodes:  # parents first, as they are computed
        found = forecast(planned, [replace(e, device="tpu") for e in stored(planned, keys)])
        assert found.stored == len(keys)
        assert found.device_hours <= before
        before = found.device_hours
        keys.add(key)
    found = forecast(planned, stored(planned))
    assert (found.device_hours, found.bytes, found.measured) == (0.0, 0, 1.0)
    assert found.stages == found.stored == len(planned.nodes)


def test_stages_above_a_stored_one_need_not_run(tiny: Tiny) -> None:
    planned = plan(tiny())
    (trial,) = planned.trials
    assert forecast(planned, stored(planned, {trial.key})).device_hours == 0.0
    assert missing_nodes([trial.graph.final], {trial.key}) == {}
    tuned = key_of(trial.graph.finetune)
    missing = missing_nodes([trial.graph.final], {tuned})
    assert tuned not in missing
    assert trial.key in missing


def test_trials_that_tracking_has_cost_nothing(tiny: Tiny) -> None:
    planned = plan(tiny(GRID))
    assert forecast(planned, [], {t.key for t in planned.trials}).device_hours == 0.0
    one = forecast(planned, [], {t.key for t in planned.trials[1:]})
    assert 0 < one.device_hours < forecast(planned, []).device_hours


def test_measured_speeds_replace_the_guess(tiny: Tiny) -> None:
    small, large = plan(tiny()), plan(tiny("", "search.seed=[0, 1]"))
    entries = stored(small, speed=2e6)
    found = forecast(large, entries)
    missing = [node for key, node in large.nodes.items() if key not in {e.key for e in entries}]
    macs = sum(node.work_macs() for node in missing)
    assert found.device_hours == pytest.approx(macs / 2e6 / 3600)
    assert found.measured == 1.0
    assert found.bytes == 1000 * len(missing)
    twice = forecast(large, stored(small, speed=4e6))
    assert twice.device_hours == pytest.approx(found.device_hours / 2)


def test_speeds_of_another_device_do_not_count(tiny: Tiny) -> None:
    small, large = plan(tiny()), plan(tiny("", "search.seed=[0, 1]"))
    foreign = [replace(entry, device="cuda") for entry in stored(small)]
    assert forecast(large, foreign).measured == 0.0


def test_the_median_speed_counts_not_an_odd_one(tiny: Tiny) -> None:
    small, large = plan(tiny()), plan(tiny("", "search.seed=[0, 1]"))
    entries = stored(small, speed=2e6)
    slow = [replace(e, key=f"{e.key}{i}", seconds=e.seconds * f)
            for e in entries for i, f in enumerate((1, 1000))]  # fmt: skip
    assert forecast(large, entries + slow).device_hours == pytest.approx(
        forecast(large, entries).device_hours
    )


def test_a_device_is_what_a_trial_asks_for(tiny: Tiny) -> None:
    one, two = plan(tiny()), plan(tiny("resources: {cpu: 2}\n"))
    assert forecast(two, []).device_hours == pytest.approx(2 * forecast(one, []).device_hours)
    half = plan(tiny("resources: {gpu: 0.5}\n"))
    share = 0.5 * ASSUMED_MACS_PER_S["cpu"] / ASSUMED_MACS_PER_S["cuda"]
    assert forecast(half, []).device_hours == pytest.approx(share * forecast(one, []).device_hours)


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


def test_what_is_not_known_yet_is_part_of_the_forecast(tiny: Tiny) -> None:
    search = "search: {{method: optuna, samples: {}, batch: 2, patch_drop: [0.1, 0.2, 0.3]}}\n"
    two, eight = plan(tiny(search.format(2))), plan(tiny(search.format(8)))
    assert len(two.trials) == len(eight.trials)
    assert forecast(eight, []).device_hours == pytest.approx(
        forecast(two, []).device_hours * eight.expected / len(two.trials)
    )


def test_a_job_survives_as_text(tiny: Tiny) -> None:
    for trial in plan(tiny(GRID)).trials:
        assert Job.of_text(job_of(trial).text()) == job_of(trial)
