"""TEST DATA, made up."""

from dashboards import style
from dashboards.arms import Arms
from dashboards.figures.diagnosis_sparsity import FIGURE, Masks, _control_line, _masked
from dashboards.files import PNG_SIGNATURE
from orchestrator.selection.arms import known_arms
from tests.dashboards.test_diagnosis import entry, found


def test_nothing_to_diagnose_is_no_figure() -> None:
    assert FIGURE.drawing({}) is None
    alone = {"anchors": [entry(name="x", accuracy=None)], "suspects": []}
    assert FIGURE.drawing({"diagnosis": alone}) is None


def test_the_figure_says_what_it_shows() -> None:
    with style.drawing_rules():
        drawing = FIGURE.drawing({"diagnosis": found()})
    assert drawing is not None
    assert drawing.png.startswith(PNG_SIGNATURE)
    assert "5 settings of ISSP from 50" in drawing.alt


def test_each_control_of_the_mask_is_a_line_of_its_own() -> None:
    arms = Arms.of({"known_arms": known_arms()})
    shown = Masks(_masked(found()), found(), arms)
    with style.drawing_rules():
        (axes,) = style.new_figure(3)
        for arm in arms.mask_controls():
            _control_line(axes, arm, shown)
        lines = {str(line.get_label()): list(line.get_xdata()) for line in axes.get_lines()}
    assert lines == {"One-shot magnitude": [0.5, 0.79], "Random mask": [0.5]}
