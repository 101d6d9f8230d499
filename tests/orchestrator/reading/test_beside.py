"""Which two sweeps can stand beside each other."""

from types import SimpleNamespace

import pytest

from orchestrator import load_sweep
from orchestrator.reading import beside
from trials.errors import LotusError


def test_equal_data_sections_are_the_same_images_wherever_known_data_lie() -> None:
    one = load_sweep("digits")
    assert beside.same_images(one, load_sweep("digits", ["finetune.epochs=1"]))
    assert not beside.same_images(one, load_sweep("digits", ["data.validation=100"]))
    here, there = (
        load_sweep("digits", ["data.name=cifar10", f"data.root={place}"]) for place in ("/a", "/b")
    )
    assert beside.same_images(here, there)
    folders = [
        load_sweep("digits", ["data.name=imagefolder", f"data.root={place}"])
        for place in ("/a", "/b")
    ]
    assert not beside.same_images(*folders)


def test_digests_decide_where_both_are_known() -> None:
    one, other = {"data": [{"digest": "x"}]}, {"data": [{"digest": "y"}]}
    assert beside.same_digests(one, dict(one)) is True
    assert beside.same_digests(one, other) is False
    assert beside.same_digests(one, {}) is None


def test_a_sweep_beside_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    same = SimpleNamespace(tracker=SimpleNamespace(address="one run"))
    monkeypatch.setattr(beside, "_read", lambda _: same)
    with pytest.raises(LotusError, match="are one sweep with one run: name two sweeps"):
        beside.report_beside(load_sweep("digits"), load_sweep("digits"))


def test_a_sweep_that_never_ran_is_named(tmp_path: object) -> None:
    sweep = load_sweep("digits", [f"tracking.uri=sqlite:///{tmp_path}/none.db"])
    with pytest.raises(LotusError, match="digits has no run in sqlite"):
        beside.report_beside(sweep, sweep)
