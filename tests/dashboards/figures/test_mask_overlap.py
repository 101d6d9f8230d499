from dashboards import ReportData
from dashboards.figures import mask_overlap
from tests.dashboards.reading_figures import rows


def test_only_what_was_measured_gets_a_panel(full: ReportData) -> None:
    table = mask_overlap.layer_table(full.summary)
    assert set(table["varies"]) == {"seed", "fraction"}
    assert len(table) == 2 * 12 * 4
    plot = mask_overlap.FIGURE.draw(table)
    panels = {row["panel"] for row in rows(plot, "panel")}
    assert panels == {"Between seeds", "Between mask data fractions"}
    assert "between seeds from 0.500 to 0.810" in plot.alt


def test_layers_that_are_no_linear_of_a_block_are_left_out() -> None:
    layers = [{"layer": name, "seed": 0.5} for name in ("head.weight", "<script>", None)]
    assert mask_overlap.layer_table({"overlap": {"layers": layers}}).empty
    assert mask_overlap.FIGURE.data({"overlap": {"layers": layers}}) is None


def test_layers_without_a_random_baseline_are_drawn() -> None:
    layers = [{"layer": "blocks.0.mlp.fc1.weight", "seed": 0.5}]
    drawing = mask_overlap.FIGURE.drawing({"overlap": {"layers": layers}})
    assert drawing is not None
    assert drawing.title.endswith("of their weights in the median layer")


def test_no_layers_draw_nothing() -> None:
    assert mask_overlap.FIGURE.data({}) is None
