"""What a trial records for the report's gallery, of a real trial."""

import base64
import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dashboards.gallery import examples
from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.worker.gallery import SIDE_PX, gallery, picture
from trials.data.datasets import Dataset
from trials.graph.execute import TrialResult


@pytest.fixture
def recorded(finished: tuple[Plan, PlannedTrial, TrialResult]) -> dict[str, Any]:
    planned, trial, result = finished
    data = planned.sources_of(trial.config).dataset
    found = result.results
    return gallery(data, 0.25, found["tickets"], found["attention"], found["final"])


def test_it_is_json_that_the_page_draws(recorded: dict[str, Any]) -> None:
    shown = examples([json.loads(json.dumps(recorded))])
    assert [example.name for example in shown] == [str(label) for label in range(8)]
    assert all(example.attention for example in shown)
    assert {(example.rows, example.columns) for example in shown} == {(4, 4)}


def test_prediction_and_outcome_agree(recorded: dict[str, Any]) -> None:
    for image in recorded["images"]:
        assert image["right"] == (image["predicted"]["number"] == image["class"]["number"])


def test_a_result_of_an_earlier_version_has_no_prediction(
    finished: tuple[Plan, PlannedTrial, TrialResult],
) -> None:
    planned, trial, result = finished
    data: Dataset = planned.sources_of(trial.config).dataset
    found = result.results
    old = replace(found["final"], examples=())
    images = gallery(data, 0.25, found["tickets"], found["attention"], old)["images"]
    assert {image["predicted"] for image in images} == {None}
    (first, *_) = examples([gallery(data, 0.25, found["tickets"], found["attention"], old)])
    assert first.tickets[0].says in ("recognised", "not recognised")


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "L"), (3, "RGB"), (4, "RGB")])
def test_pictures_are_small_and_keep_their_shape(channels: int, mode: str) -> None:
    large = np.full((channels, 120, 240), 90, np.uint8)
    kind, _, content = picture(large).removeprefix("data:image/").partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(content)))
    assert (kind, image.size, image.mode) == ("jpeg", (SIDE_PX, SIDE_PX // 2), mode)
    assert abs(int(np.asarray(image).mean()) - 90) <= 2
    assert picture(large[:, :8, :8]).startswith("data:image/png;base64,")
