from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import ValidationError

import trials
from trials.stage import STAGES, Later, Node, Source, Stage, StageConfig, closure, stage


class Small(StageConfig):
    level: float = 0.5


class Large(Small):
    more: int = 1


@dataclass(frozen=True, slots=True)
class Result:
    value: float


def node(name: str, **inputs: Any) -> Node[Result]:
    made: Stage[Result] = Stage(name, 1, lambda cfg, ctx: Result(cfg.level), Result, False)
    return Node(made, Small(), None, inputs)


def test_settings_are_frozen_and_unknown_names_are_refused() -> None:
    with pytest.raises(ValidationError):
        Small(level=1.0).level = 2.0  # type: ignore[misc]
    with pytest.raises(ValidationError, match="levle"):
        Small(levle=1.0)  # type: ignore[call-arg]


class Grown(Small):
    new: Annotated[int, Later()] = 1
    inner: Small | None = None


def test_a_setting_that_came_later_is_in_no_identity_at_its_default() -> None:
    """Nested ones too: what was stored before there was such a setting is found again."""

    class Outer(StageConfig):
        own: Grown = Grown()

    assert Grown().identity() == {"level": 0.5, "inner": None}
    assert Grown(new=1).identity() == Grown().identity()
    assert Grown(new=2).identity() == {"level": 0.5, "inner": None, "new": 2}
    assert Outer().identity() == {"own": {"level": 0.5, "inner": None}}
    assert Outer(own=Grown(new=3)).identity()["own"]["new"] == 3
    assert Grown().model_dump()["new"] == 1


def test_a_part_has_the_sections_values_and_the_changes() -> None:
    assert Large(level=0.3).part(Small) == Small(level=0.3)
    assert Small(level=0.3).part(Large, more=7) == Large(level=0.3, more=7)


def test_a_stage_is_the_function_with_a_name_and_knows_whether_it_is_seeded() -> None:
    def plain(cfg: Small, ctx: None) -> Result:
        return Result(cfg.level)

    def drawn(cfg: Small, ctx: None, *, seed: int) -> Result:
        return Result(cfg.level + seed)

    try:
        first, second = stage("test-plain", 1)(plain), stage("test-drawn", 3)(drawn)
        assert (first.name, first.version, first.result, first.seeded) == (
            "test-plain", 1, Result, False,
        )  # fmt: skip
        assert (second.version, second.seeded) == (3, True)
        assert second(Small(), None, seed=2) == drawn(Small(), None, seed=2)
        with pytest.raises(ValueError, match="two stages are called 'test-plain'"):
            stage("test-plain", 2)(plain)
    finally:
        STAGES.pop("test-plain", None)
        STAGES.pop("test-drawn", None)


def test_every_stage_is_registered_under_its_own_name() -> None:
    assert trials.STAGES is STAGES
    assert set(STAGES) == {
        "pretrained", "dense", "attention", "tickets", "essential", "pick",
        "calibrate", "denoise", "issp", "soup_train", "round_train", "finetune", "profile",
        "evaluate", "probe", "rung", "recovered", "reduced",
    }  # fmt: skip
    assert all(name == found.name for name, found in STAGES.items())
    seeded = {name for name, found in STAGES.items() if found.seeded}
    assert seeded == {
        "pretrained", "dense", "tickets", "calibrate", "essential", "denoise", "soup_train",
        "round_train", "finetune", "probe", "rung", "reduced",
    }  # fmt: skip


def test_the_closure_lists_parents_before_children_and_everything_once() -> None:
    root = node("root", data=Source("data", "digest"), none=None)
    left, right = node("left", up=root), node("right", up=root)
    leaf = node("leaf", pair=(left, right), again=root)
    assert closure(leaf) == [root, left, right, leaf]
    assert list(leaf.parents()) == [left, right, root]


def test_nodes_are_compared_by_identity() -> None:
    assert node("same") != node("same")
