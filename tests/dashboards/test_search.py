"""The page's section on searches."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dashboards import ReportData, search, write_report

SETTING = {"sparsity": 0.3, "patch_drop": 0.1, "mask_data_fraction": 0.1, "finetune.lr": 1e-3}


def row(accuracy: float, macs: float, **more: Any) -> dict[str, Any]:
    return {
        "arm": "lotus", "n": 3, "val_accuracy_mean": accuracy, "test_accuracy_mean": accuracy,
        "macs": 1e9 * macs, "macs_ratio": macs, "sparsity_mean": 0.5, "setting": SETTING,
    } | more  # fmt: skip


def tried(accuracy: float, macs: float, **more: Any) -> dict[str, Any]:
    return {
        "arm": "lotus", "n": 3, "mean": accuracy, "ci_low": accuracy - 0.01,
        "ci_high": accuracy + 0.01, "macs_ratio": macs, "speed_ratio": None, "sparsity": 0.5,
        "front": True, "setting": SETTING,
    } | more  # fmt: skip


FRONT = {
    "pareto": [row(0.97, 0.9), row(0.96, 0.7)],
    "tried": [tried(0.97, 0.9), tried(0.96, 0.7)],
}
HALVING = {
    "halving": {
        "rungs": [{"epochs": 1, "candidates": 4, "kept": 2, "best_val_accuracy": 0.8},
                  {"epochs": 3, "candidates": 2, "kept": 1, "best_val_accuracy": 0.9}],
        "candidates": [
            {"arm": "lotus", "n": 2, "setting": SETTING, "curve": [[1, 0.8], [3, 0.9]],
             "won": True, "val_accuracy": 0.95, "test_accuracy": 0.94},
            {"arm": "lotus", "n": 2, "setting": SETTING, "curve": [[1, 0.5]], "won": False,
             "val_accuracy": None, "test_accuracy": None},
        ],
    }
}  # fmt: skip


def test_a_sweep_without_a_search_has_no_such_section(full: ReportData, tmp_path: Path) -> None:
    alone = full.summary | {
        "pareto": full.summary["pareto"][:1],
        "halving": None,
        "tried": [],
        "importance": None,
    }
    page = write_report(replace(full, summary=alone), tmp_path).read_text()
    for name in ("pareto", "halving"):
        assert f'id="{name}"' not in page
        assert f'"#{name}"' not in page


@pytest.mark.parametrize(
    "found", [FRONT, HALVING, FRONT | HALVING], ids=["front", "halving", "both"]
)
def test_what_was_found_stands_on_the_page(
    full: ReportData, tmp_path: Path, found: dict[str, Any]
) -> None:
    data = replace(
        full,
        summary=full.summary
        | {"pareto": [], "tried": [], "importance": None, "halving": None}
        | found,
    )
    page = write_report(data, tmp_path).read_text()
    for name in ("pareto", "halving"):
        assert (f'<section id="{name}">' in page) == (name in found)
        assert (f'<a href="#{name}">' in page) == (name in found)
        assert (tmp_path / f"figures/{name}.png").exists() == (name in found)


def test_one_setting_is_no_front() -> None:
    assert search.pareto_table({"pareto": [row(0.9, 1.0)]}).rows == ()


def test_final_numbers_stand_beside_winners_only() -> None:
    table = search.candidates_table(HALVING)
    place = table.heads.index("Test accuracy, full")
    assert [cells[place].value for cells in table.rows] == [0.94, None]


def test_further_axes_are_named() -> None:
    table = search.pareto_table(FRONT)
    assert any(cell.text == "finetune.lr = 0.001" for cell in table.rows[0])
