"""TEST DATA, made up."""

from typing import Any

from dashboards.figures.layer_sparsity import FIGURE
from orchestrator.selection.arms import known_arms
from tests.dashboards.reading_figures import rows

KINDS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


def mask(name: str, arm: str, kept: float) -> dict[str, Any]:
    layers = [
        {"layer": f"blocks.{block}.{kind}.weight", "kept": kept - 0.1 * block + 0.01 * i}
        for block in range(3)
        for i, kind in enumerate(KINDS)
    ]
    layers.append({"layer": "head.weight", "kept": 1.0})
    return {"mask": name, "arm": arm, "setting": {"sparsity": 0.3}, "n": 2, "layers": layers}


def summary(*masks: dict[str, Any]) -> dict[str, Any]:
    return {"known_arms": known_arms(), "layers": list(masks)}


def test_nothing_measured_is_no_figure() -> None:
    assert FIGURE.data({}) is None
    assert FIGURE.data(summary(mask("final", "lotus", 0.5) | {"layers": []})) is None


def test_every_mask_is_a_line_in_the_panel_of_each_kind_of_layer() -> None:
    plot = FIGURE.draw(FIGURE.data(summary(mask("essential", "lotus", 0.7),
                                           mask("final", "lotus", 0.5))))  # fmt: skip
    found = rows(plot, "name")
    assert {row["name"] for row in found} == {"One-shot, before ISSP", "LOTUS"}
    assert {row["panel"] for row in found} == {
        "Attention: q, k, v", "Attention: projection", "MLP: first", "MLP: second",
    }  # fmt: skip
    assert {row["kept"] for row in found if row["block"] == 0 and row["name"] == "LOTUS"} == {
        50.0, 51.0, 52.0, 53.0,
    }  # fmt: skip
    assert plot.title.replace("\u00a0", " ") == (
        "LOTUS keeps between 30 % of block 2’s attention: q, k, v and 53 % of block 0’s MLP: second"
    )
    assert "LOTUS: s 30" in plot.note
    shared = mask("final", "lotus", 0.5) | {"shared": ["issp"]}
    note = FIGURE.draw(FIGURE.data(summary(shared))).note
    assert note.startswith("LOTUS (the mask of ISSP on all patches too): s 30")


def test_masks_that_keep_as_much_everywhere_are_drawn() -> None:
    flat = mask("final", "lotus", 0.5)
    flat["layers"] = [{"layer": "blocks.0.mlp.fc1.weight", "kept": 0.5}]
    drawing = FIGURE.drawing(summary(flat))
    assert drawing is not None
    assert drawing.title.replace("\u00a0", " ") == "LOTUS keeps 50 % of every layer"
