"""The filters of `docs/mlflow.md`, tried on a finished sweep as MLflow's search field does."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.orchestrator.tracking.conftest import Output

PAGE = Path(__file__).parents[3] / "docs/mlflow.md"
ROW = re.compile(r"^   \| (`+)(.+?)\1 \| .+ \|$", re.MULTILINE)

SHOWS: dict[str, set[str]] = {
    "tags.`lotus.kind` = 'trial'": {"dense", "lotus"},
    "tags.`lotus.kind` = 'trial' and params.arm = 'lotus'": {"lotus"},
    "tags.`lotus.kind` = 'trial' and tags.`lotus.superseded` is null": {"dense", "lotus"},
    "metrics.sparsity > 0.2 and metrics.patch_drop >= 0.1": {"lotus"},
    "params.`issp.merge` = 'vote_topk' and metrics.`final/sparsity` > 0.5": {"lotus"},
    "metrics.`final/deployed_val_accuracy` > 0.05 and metrics.seed = 0": {"dense", "lotus"},
    "tags.`lotus.kind` = 'stage' and tags.`lotus.stage` = 'dense'": {"stage"},
    "attributes.status = 'FAILED'": set(),
}
"""Filter -> first words of the names of what it shows of a sweep of two arms on two seeds."""


def shown(original: Output, text: str) -> list[Mapping[str, Any]]:
    client = MlflowClient(f"sqlite:///{original.database}")
    experiment = client.get_experiment_by_name("lost")
    assert experiment is not None
    return [run.info for run in client.search_runs([experiment.experiment_id], text)]


def test_the_page_has_these_filters() -> None:
    found = [match[2] for match in ROW.finditer(PAGE.read_text("utf-8"))]
    assert sorted(found) == sorted(SHOWS)


@pytest.mark.parametrize("text", SHOWS)
def test_a_filter_of_the_page_shows_what_it_says(text: str, original: Output) -> None:
    names = [info.run_name for info in shown(original, text)]
    assert {name.split("-")[0] for name in names} == SHOWS[text]
    seeds = 1 if "metrics.seed = 0" in text else 2
    assert len(names) == len(set(names)) == seeds * len(SHOWS[text])
