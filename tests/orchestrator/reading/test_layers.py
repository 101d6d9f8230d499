"""The sparsity of layers, read from a real run."""

from pathlib import Path

import pytest

from orchestrator.reading import layers
from orchestrator.reading.tables import trials_table
from tests.orchestrator.conftest import TrackedTrial
from trials.errors import FormatError


def test_what_a_trial_recorded_is_in_the_summary(tracked_trial: TrackedTrial) -> None:
    table = trials_table(tracked_trial.tracker.runs())
    one_shot, final = layers.measured(tracked_trial.tracker, table, (), None)
    assert [one["mask"] for one in (one_shot, final)] == ["essential", "final"]
    assert len(final["layers"]) == 8, "four in each of two blocks"
    kept = [layer["kept"] for layer in final["layers"]]
    assert sum(kept) / len(kept) == pytest.approx(0.4, abs=0.1), "a target sparsity of 60 %"


@pytest.mark.parametrize("content", ["", "[]", '{"final": 3}', '{"final": {"a": "x"}}'])
def test_a_damaged_record_is_an_error_of_its_format(content: str, tmp_path: Path) -> None:
    (tmp_path / "sparsity.json").write_text(content, "utf-8")
    with pytest.raises(FormatError, match="not the sparsity of layers"):
        layers._load(tmp_path / "sparsity.json")
