"""Ray is left while nobody collects garbage."""

import gc
import weakref

import pytest
import ray

from orchestrator.ray_internals.ending import shut_down


class Reference:
    """Of an object of Ray, in a cycle as Tune leaves them."""

    def __init__(self) -> None:
        self.cycle = self


def test_cycles_are_gone_before_and_none_is_collected_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    left = weakref.ref(Reference())
    monkeypatch.setattr(ray, "shutdown", lambda: seen.append((left(), gc.isenabled())))
    shut_down()
    assert seen == [(None, False)]
    assert gc.isenabled()


def test_an_error_of_ray_leaves_the_collector_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(ray, "shutdown", broken)
    with pytest.raises(RuntimeError):
        shut_down()
    assert gc.isenabled()
    gc.disable()
    try:
        with pytest.raises(RuntimeError):
            shut_down()
        assert not gc.isenabled(), "somebody else's choice"
    finally:
        gc.enable()
