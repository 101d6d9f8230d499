"""Whose tickets the report shows. TEST DATA, made up, and one real trial."""

from typing import Any

import pandas as pd

from dashboards.gallery import examples
from orchestrator.reading import gallery
from orchestrator.reading.tables import trials_table
from tests.orchestrator.conftest import TrackedTrial


def trial(arm: str, drop: float, seed: int, **more: Any) -> dict[str, Any]:
    row = {"arm": arm, "patch_drop": drop, "seed": seed, "status": "FINISHED", "rung": None}
    return row | {"name": f"{arm}-{drop}-{seed}"} | more


def test_a_trial_of_lotus_for_each_patch_drop_and_else_the_next_best() -> None:
    table = pd.DataFrame([
        trial("random_patches", 0.1, 0), trial("tickets", 0.1, 0), trial("lotus", 0.1, 1),
        trial("lotus", 0.1, 0), trial("tickets", 0.3, 1), trial("random_patches", 0.3, 0),
        trial("random_tickets", 0.5, 0), trial("lotus", 0.7, 0, status="FAILED"),
        trial("lotus", 0.8, 0, rung=2), trial("lotus", 0.0, 0), trial("dense", 0.9, 0),
    ])  # fmt: skip
    found = gallery.shown_trials(table)
    assert list(found["name"]) == ["lotus-0.1-0", "tickets-0.3-1", "random_tickets-0.5-0"]
    assert len(gallery.shown_trials(table.iloc[:0])) == 0


def test_what_a_trial_recorded_is_read_from_its_run(tracked_trial: TrackedTrial) -> None:
    table = trials_table(tracked_trial.tracker.runs())
    table["patch_drop"] = 0.25  # of which the report would show none: it drops nothing
    (found,) = gallery.recorded(tracked_trial.tracker, table)
    assert len(examples([found])) == 8
    (picture,) = gallery.pictures(tracked_trial.tracker, table)
    assert picture.png.startswith(b"\x89PNG")
