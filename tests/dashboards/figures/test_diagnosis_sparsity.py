"""TEST DATA, made up."""

from dashboards.arms import Arms
from dashboards.figures.diagnosis_sparsity import FIGURE, Masks, control_rows
from orchestrator.selection.arms import known_arms
from tests.dashboards.test_diagnosis import entry, found


def test_nothing_to_diagnose_is_no_figure() -> None:
    assert FIGURE.data({}) is None
    alone = {"anchors": [entry(name="x", accuracy=None)], "suspects": []}
    assert FIGURE.data({"diagnosis": alone}) is None


def test_the_figure_says_what_it_shows() -> None:
    plot = FIGURE.draw(FIGURE.data({"diagnosis": found()}))
    assert "5 settings of ISSP from 50" in plot.alt
    assert plot.title.endswith("of 5 settings of ISSP are more than 20 points below dense right "
                               "after pruning")  # fmt: skip


def test_each_control_of_the_mask_is_a_line_of_its_own() -> None:
    arms = Arms.of({"known_arms": known_arms()})
    rows = control_rows(Masks([], found(), arms))
    lines: dict[str, list[float]] = {}
    for row in rows:
        lines.setdefault(row["kind"], []).append(row["sparsity"])
    assert lines == {"One-shot magnitude": [50, 79], "Random mask": [50]}
