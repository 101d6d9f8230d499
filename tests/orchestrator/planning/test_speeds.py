"""What a store has measured, and what follows for stages that have not run yet."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.planning.speeds import ASSUMED, error_factor, learned
from orchestrator.storage.store import Entry
from trials.stage import Load

FIXED, CALL, MAC = 0.05, 1e-3, 1e-10


def entry(stage: str, load: Load, seconds: float, **more: Any) -> Entry:
    """A result in a store's index."""
    about: dict[str, Any] = {
        "key": "k", "version": 1, "object": "o", "bytes": 1, "host": "h", "versions": {},
        "device": "cpu", "created": 1.0, "work_calls": load.calls,
    }  # fmt: skip
    return Entry(stage=stage, seconds=seconds, work_macs=load.macs, **about | more)


def real_s(load: Load, factor: float = 1.0) -> float:
    """Of a machine whose costs are known."""
    return factor * (FIXED + CALL * load.calls + MAC * load.macs)


TRAININGS = [Load(epochs * 1e10, epochs * 500.0) for epochs in (1, 2, 5)]
SMALL_BATCH, LARGE_MODEL = Load(1e10, 4000.0), Load(4e12, 4000.0)


def measured_store(**more: Any) -> list[Entry]:
    """Trainings and passes on that machine; passes take a fifth longer than the costs say."""
    passes = [Load(1e9, 4.0), Load(4e11, 40.0)]
    found = [entry("dense", load, real_s(load), **more) for load in TRAININGS]
    return found + [entry("evaluate", load, real_s(load, 1.2), **more) for load in passes]


@pytest.mark.parametrize("load", [SMALL_BATCH, LARGE_MODEL], ids=["small batch", "large model"])
def test_other_batches_and_models_than_the_measured_ones_are_predicted(load: Load) -> None:
    speeds = learned(measured_store(), "cpu")
    assert speeds.knows("dense")
    assert speeds.seconds("dense", load) == pytest.approx(real_s(load), rel=0.5)


def test_a_stage_without_work_takes_what_it_took() -> None:
    store = [*measured_store(), *(entry("tickets", Load(), s) for s in (0.2, 0.4))]
    assert learned(store, "cpu").seconds("tickets", Load()) == pytest.approx(0.3)


def test_sums_are_predicted_where_times_are_skewed() -> None:
    seconds = [1.0, 1.0, 1.0, 3.0]
    speeds = learned([entry("dense", TRAININGS[0], s) for s in seconds], "cpu")
    assert speeds.seconds("dense", TRAININGS[0]) == pytest.approx(1.5)


def test_a_machine_that_slept_once_does_not_spoil_the_forecast() -> None:
    seconds = [1.0] * 9 + [5000.0]
    speeds = learned([entry("dense", TRAININGS[0], s) for s in seconds], "cpu")
    assert speeds.seconds("dense", TRAININGS[0]) == pytest.approx(1.3)


def test_another_kind_of_device_says_nothing() -> None:
    store = measured_store(device="cuda")
    assert not learned(store, "cpu").knows("dense")
    assert learned(store, "cpu").costs == ASSUMED["cpu"]
    assert error_factor(store, "cpu") is None


def test_a_stage_that_was_never_measured_goes_by_the_speed_of_the_others() -> None:
    speeds = learned([entry("dense", load, 10 * real_s(load)) for load in TRAININGS], "cpu")
    assert not speeds.knows("denoise")
    assert speeds.seconds("denoise", TRAININGS[1]) == pytest.approx(10 * real_s(TRAININGS[1]))


def test_what_an_earlier_version_measured_is_still_of_use() -> None:
    old = [entry("dense", Load(macs), macs / 1e9, work_calls=None) for macs in (1e9, 2e9, 5e9)]
    speeds = learned(old, "cpu")
    assert speeds.knows("dense")
    assert speeds.seconds("dense", Load(1e10, 5000.0)) == pytest.approx(10.0)
    newer = learned([*old, *measured_store()], "cpu")
    assert newer.seconds("dense", TRAININGS[1]) == pytest.approx(real_s(TRAININGS[1]), rel=0.3)


def test_the_newest_results_count() -> None:
    old = [entry("dense", TRAININGS[0], 100.0, created=float(n)) for n in range(300)]
    new = [entry("dense", TRAININGS[0], 1.0, created=1000.0 + n) for n in range(100)]
    assert learned([*new, *old], "cpu").seconds("dense", TRAININGS[0]) == pytest.approx(1.0)


def test_the_error_is_that_of_predicting_each_result_from_the_others() -> None:
    exact = measured_store()
    assert error_factor(exact[:1], "cpu") is None
    steady = [entry("dense", TRAININGS[0], 1.0) for _ in range(10)]
    assert error_factor(steady, "cpu") == pytest.approx(1.0)
    draw = np.random.default_rng(0)
    noisy = [entry("dense", TRAININGS[0], float(s)) for s in draw.lognormal(0.0, 0.3, 200)]
    found = error_factor(noisy, "cpu")
    assert found is not None
    assert found == pytest.approx(np.exp(0.3 * 1.28), rel=0.1)  # 80 % lie within


RECORDED = json.loads((Path(__file__).parent / "measured_digits.json").read_text())


def test_the_second_seed_of_a_real_sweep_is_predicted_from_the_first() -> None:
    """`lotus run digits`, one seed after the other, on two cores."""
    first, second = (
        [entry(stage, Load(macs, calls), s) for stage, macs, calls, s in RECORDED[seed]]
        for seed in ("seed 0", "seed 1")
    )
    speeds = learned(first, "cpu")
    said = sum(
        speeds.seconds(one.stage, Load(one.work_macs, one.work_calls or 0)) for one in second
    )
    took = sum(one.seconds for one in second)
    assert max(said / took, took / said) < 1.5
