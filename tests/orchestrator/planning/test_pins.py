"""What a sweep needs of a store, as it says so there."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.planning import pins
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import plan
from orchestrator.storage.keys import key_of
from orchestrator.storage.store import Store
from trials.stage import closure


def test_a_sweep_pins_every_stage_of_every_trial(
    tiny: Callable[..., SweepConfig], store: Store
) -> None:
    planned = plan(tiny("search: {seed: [0, 1]}\n"))
    made = pins.pin(store, planned, "run1")
    needed = {key_of(n) for trial in planned.trials for n in closure(trial.graph.final)}
    assert set(made.keys) == needed == set(planned.nodes)
    assert pins.pins(store.files) == [made]
    assert (made.sweep, made.experiment) == ("tiny", "tiny")


def test_early_trials_are_pinned_too(tiny: Callable[..., SweepConfig], store: Store) -> None:
    two = plan(tiny("search: {seed: [0, 1]}\n"))
    guess = type(two)(two.sweep, two.trials[:1], two.opened, early=two.trials[1:])
    assert set(pins.pin(store, guess, "r").keys) == set(two.nodes)


def test_a_pin_is_replaced_and_the_first_time_stays(
    tiny: Callable[..., SweepConfig], store: Store
) -> None:
    assert pins.pinned_since(store.files) is None
    first = pins.pin(store, plan(tiny()), "r")
    again = pins.pin(store, plan(tiny("search: {seed: [5]}\n")), "r")
    assert pins.pins(store.files) == [again] != [first]
    assert pins.pinned_since(store.files) == first.written


def test_no_password_reaches_the_store(tiny: Callable[..., SweepConfig], store: Store) -> None:
    sweep = tiny("tracking: {uri: 'postgresql://me:hunter22@db/ml'}\n")
    made = pins.pin(store, plan(sweep), "r")
    assert made.tracking == "postgresql://me:***@db/ml"
    assert b"hunter22" not in store.files.read(made.path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[1]", b"\xff", b'{"check": 1}', b"[" * 100_000],
    ids=["empty", "nothing", "a list", "no text", "no pin", "deep"],
)
def test_a_damaged_pin_is_an_error_that_says_what_to_do(content: bytes, store: Store) -> None:
    store.files.write("sweeps/abc.json", content)
    with pytest.raises(pins.PinError, match="run that sweep again"):
        pins.pins(store.files)


@pytest.mark.parametrize("change", [{"keys": ["a"]}, {"run_id": "s"}, {"written": 0.0}], ids=str)
def test_a_changed_pin_is_damaged(
    change: dict[str, Any], tiny: Callable[..., SweepConfig], store: Store
) -> None:
    made = pins.pin(store, plan(tiny()), "r")
    values = json.loads(store.files.read(made.path)) | change
    store.files.write(made.path, json.dumps(values).encode())
    with pytest.raises(pins.PinError):
        pins.pins(store.files)


def test_a_damaged_start_is_an_error(store: Store) -> None:
    store.files.write("sweeps/since.json", b"{}")
    with pytest.raises(pins.PinError, match=r"since\.json"):
        pins.pinned_since(store.files)


@pytest.mark.parametrize("run_id", ["", "..", "a/b", "../x", "a\nb", "x" * 101, "since"])
def test_a_run_id_cannot_leave_its_folder(run_id: str) -> None:
    with pytest.raises(pins.PinError, match="not the id"):
        pins.pin_path(run_id)
