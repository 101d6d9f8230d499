"""Addresses in the MLflow UI."""

import pytest

from orchestrator.tracking import pages


@pytest.mark.parametrize(
    ("page", "path"),
    [
        (pages.experiments_page("http://h:1/"), "http://h:1/#/experiments?"),
        (pages.run_page("http://h:1", "7", "r"), "http://h:1/#/experiments/7/runs/r?"),
        (
            pages.trials_page("http://h:1", "7", "p"),
            "http://h:1/#/experiments/7/runs?viewStateShareKey=p&",
        ),
        (
            pages.artifact_page(pages.HERE, "7", "r", "report/report.html"),
            "#/experiments/7/runs/r/artifacts/report/report.html?",
        ),
    ],
)
def test_every_page_opens_in_the_layout_of_trained_models(page: str, path: str) -> None:
    assert page == f"{path}workflowType=machine_learning"
