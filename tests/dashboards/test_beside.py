"""The page of two sweeps beside each other."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from dashboards import ReportData
from dashboards.arms import Arms
from dashboards.beside import names, note, shared_table, write_beside
from dashboards.data import plain
from tests.dashboards.test_report import EVIL, Page

ROW = {
    "arm": "lotus", "setting": {"sparsity": 0.3, "patch_drop": 0.1}, "n": 3, "n_images": 500,
    "test_accuracy_a": 0.9, "test_accuracy_b": 0.88, "same_models": False, "difference": -0.02,
    "models_low": -0.03, "models_high": -0.01, "seeds_low": None, "seeds_high": None,
    "scope": "these models", "verdict": "worse", "equal_within": None, "would_decide": None,
}  # fmt: skip
FOUND = {"shared": [ROW], "only_a": 2, "only_b": 1, "compared": 1, "same_images": True,
         "problems": []}  # fmt: skip


@pytest.fixture
def summary(full: ReportData) -> dict[str, Any]:
    return copy.deepcopy(plain(full.summary))


def test_the_page_has_both_answers_and_what_differs(
    summary: dict[str, Any], tmp_path: Path
) -> None:
    other = copy.deepcopy(summary) | {"sweep": "another"}
    other["answer"]["costs"] = "It costs something else."
    path = write_beside(summary, other, FOUND, tmp_path)
    text = Page(path).text.replace("\u00a0", " ")
    for said in (
        summary["answer"]["costs"].replace(" -", " −"),
        "It costs something else.",
        "another",
        "−2.0",
        "−3.0 to −1.0",
        "worse (these models)",
        "1 setting in both; 2 only in the first",
    ):
        assert said in text  # fmt: skip
    read = json.loads((tmp_path / "beside.json").read_text())
    assert read["shared"][0]["difference"] == -0.02
    assert read["b"]["sweep"] == "another"


def test_equal_names_are_numbered() -> None:
    assert names({"sweep": "x"}, {"sweep": "x"}) == ["x (1)", "x (2)"]
    assert names({"sweep": "x"}, {}) == ["x", "unnamed sweep"]


def test_other_images_and_same_models_are_said_in_words() -> None:
    assert "no difference is given" in note(FOUND | {"same_images": False})
    row = ROW | {"same_models": True, "difference": None, "verdict": None, "models_low": None}
    table = shared_table({"shared": [row]}, Arms({}))
    assert table.rows[0][-1].text == "the same models"
    assert "Difference, points" not in table.heads


def test_names_are_text(summary: dict[str, Any], tmp_path: Path) -> None:
    evil = summary | {"sweep": EVIL}
    found = FOUND | {"shared": [ROW | {"arm": EVIL, "setting": {EVIL: EVIL}}], "problems": [EVIL]}
    page = Page(write_beside(evil, evil, found, tmp_path))
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not [tag for tag, _ in page.tags if tag == "img"]
