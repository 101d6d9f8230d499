import io

from PIL import Image

from dashboards import ReportData, style
from dashboards.figures import mask_overlap


def test_only_what_was_measured_gets_a_panel(full: ReportData) -> None:
    table = mask_overlap.layer_table(full.summary)
    assert set(table["varies"]) == {"seed", "fraction"}
    assert len(table) == 2 * 12 * 4
    with style.drawing_rules():
        drawing = mask_overlap.FIGURE.drawing(full.summary)
    assert drawing is not None
    assert Image.open(io.BytesIO(drawing.png)).size == (1040, 960)
    assert "between seeds from 0.500 to 0.810" in drawing.alt


def test_layers_that_are_no_linear_of_a_block_are_left_out() -> None:
    layers = [{"layer": name, "seed": 0.5} for name in ("head.weight", "<script>", None)]
    assert mask_overlap.layer_table({"overlap": {"layers": layers}}).empty
    assert mask_overlap.FIGURE.drawing({"overlap": {"layers": layers}}) is None


def test_no_layers_draw_nothing() -> None:
    assert mask_overlap.FIGURE.drawing({}) is None
