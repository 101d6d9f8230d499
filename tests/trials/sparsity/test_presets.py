from collections.abc import Callable
from typing import Any, get_args

import pytest

from trials.config import IsspSection, TrialConfig
from trials.sparsity.presets import PRESETS, Preset

# Written again by hand from the sources, so that a slip in the table shows.
PUBLISHED: dict[str, Any] = {
    "start": "pretrained", "order": "train_first", "rate": "one_pass", "rounds": "auto",
    "schedule": "remaining", "round_fraction": 0.15, "train_fraction": 0.1,
    "train_growth": "linear", "count_look_ahead": False, "carry_optimizer": True,
    "weights": "current", "round_training": "none", "levels": (), "sparsity_reference": "absolute",
}  # fmt: skip
TABLE: dict[str, dict[str, Any]] = {
    "default": {
        "merge": "vote_topk", "ingredients": 5, "steps": 50, "rounds": 1, "levels": (),
        "sparsity_reference": "absolute", "schedule": "geometric", "round_training": "none",
        "subset": "shared", "stop_within": 0.0, "final_trim": False,
    },
    "lotus_literal": {
        "merge": "union_pruned", "levels": (0.4, 0.5, 0.6, 0.7), "ingredients": 4,
        "sparsity_reference": "relative", "rounds": 1, "steps": 50,
    },
    "isp_paper": {
        "merge": "isp_literal", "rounds": 5, "schedule": "remaining", "round_fraction": 0.15,
        "round_training": "progressive", "ingredients": 5, "steps": 50, "stop_within": 0.0,
    },
    "isp_published": PUBLISHED | {
        "merge": "isp_literal", "ingredients": 5, "steps": 50, "spread": (0.3, 3.0),
        "look_ahead_warmup": 0,
    },
    "isp_published_votes": PUBLISHED | {
        "merge": "vote_topk", "ingredients": 5, "steps": 50, "spread": (0.3, 3.0),
    },
    "isp_code": PUBLISHED | {
        "merge": "union_kept", "round_fraction": 0.1, "train_fraction": 0.075,
        "subset": "own", "steps": "pass", "stop_within": 0.05, "final_trim": True,
        "ingredients": 5, "spread": (1.0, 1.0), "look_ahead_warmup": 500, "trim_when": "stopped",
    },
    "progressive": PUBLISHED | {"merge": "vote_topk", "ingredients": 1, "steps": 0},
    "progressive_published": PUBLISHED | {
        "merge": "vote_topk", "ingredients": 1, "steps": 0, "schedule": "linear",
        "round_fraction": 0.1, "train_fraction": 2.0, "train_growth": "constant",
    },
    "lth": {
        "start": "pretrained", "order": "prune_first", "round_training": "none", "rounds": "auto",
        "schedule": "remaining", "round_fraction": 0.2, "merge": "vote_topk", "ingredients": 1,
        "look_ahead": "recovery", "weights": "rewind",
    },
}  # fmt: skip


def test_every_preset_is_listed() -> None:
    assert set(get_args(Preset)) == PRESETS.keys() == TABLE.keys()


@pytest.mark.parametrize("name", TABLE)
def test_a_preset_resolves_to_its_plain_settings(name: str) -> None:
    found = IsspSection.model_validate({"preset": name}).resolved().model_dump()
    assert found["preset"] == name
    assert {key: found[key] for key in TABLE[name]} == TABLE[name]
    untouched = found.keys() - PRESETS[name].keys() - {"preset"}  # type: ignore[index]
    default = IsspSection().model_dump()
    assert all(found[key] == default[key] for key in untouched)


@pytest.mark.parametrize("name", TABLE)
def test_a_preset_holds_settings_that_a_file_may_write(name: str) -> None:
    written = IsspSection.model_validate(dict(PRESETS[name]) | {"preset": name})  # type: ignore[index]
    assert written == IsspSection.model_validate({"preset": name}).resolved()


@pytest.mark.parametrize("name", TABLE)
def test_what_is_written_wins_even_where_it_is_the_default(name: str) -> None:
    default = IsspSection().model_dump(exclude={"preset"})
    section = IsspSection.model_validate(default | {"preset": name})
    assert section.resolved().model_dump(exclude={"preset"}) == default


@pytest.mark.parametrize("name", TABLE)
def test_resolving_again_changes_nothing(name: str, tiny_trial: Callable[..., TrialConfig]) -> None:
    once = tiny_trial(issp={"preset": name, "steps": 3}).resolved()
    assert once.resolved() == once
    assert once.issp.steps == 3
    assert TrialConfig.model_validate_json(once.model_dump_json()).resolved() == once
