"""A selection as programs and people read it."""

import json
import re
from collections.abc import Callable
from typing import Any

from orchestrator.commands import selecting
from orchestrator.planning.config import SweepConfig
from orchestrator.selection import select


def test_a_selection_is_plain_json_and_words(tracked_trial: Any) -> None:
    seen = selecting.tracked_results(tracked_trial.sweep)
    found = select(seen.trials, 0.01, "first_violation", seen.axes, seen.curve, seen.outcomes(0.01))
    raw = json.loads(json.dumps(selecting.selection_json(found)))
    best = raw["recommended"]
    assert best["trial_key"] == tracked_trial.trial.key
    assert raw["essential_sparsity"].keys() >= {"value", "low", "high", "scope", "bracket",
                                                "detector", "tolerance"}  # fmt: skip
    assert raw["answer"].keys() == {"essential", "recommended", "saves", "costs", "surer"}
    words = selecting.describe_selection(found)
    name = "lotus-s0.30-d0.10-f0.10-seed0"
    assert words.splitlines() == [
        *raw["answer"].values(), best["reason"], f"Its model: {name}, its only seed.",
    ]  # fmt: skip
    assert "essential sparsity is " in words
    assert "LOTUS (one-shot level 30 %, " in words
    assert "other seeds unknown (n = 1)" in words
    assert not re.search(r"\b0\.\d+(?!\d*(×| point))", words), "shares are in percent"


def test_an_empty_selection_says_so(tiny: Callable[..., SweepConfig]) -> None:
    from orchestrator.reading.tables import results

    found = select(results(tiny()), 0.01)
    raw = selecting.selection_json(found)
    assert (raw["essential_sparsity"], raw["recommended"]) == (None, None)
    assert [name for name, said in raw["answer"].items() if said] == ["essential"]
    assert selecting.describe_selection(found).splitlines() == [
        "The essential sparsity was not measured.",
        "Nothing is recommended: no trial of a LOTUS arm has finished.",
    ]
