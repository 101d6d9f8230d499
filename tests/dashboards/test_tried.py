"""TEST DATA, made up."""

from dashboards import tried
from orchestrator.selection.arms import known_arms


def row(arm: str, mean: float | None = 0.9, **setting: object) -> dict[str, object]:
    return {"arm": arm, "mean": mean, "setting": setting}


def test_the_arm_with_most_settings_is_shown_and_no_control() -> None:
    rows = [row("issp"), row("lotus"), row("lotus"), *[row("random_mask")] * 5, row("issp", None)]
    found = tried.of_one_arm({"known_arms": known_arms(), "tried": rows})
    assert [r["arm"] for r in found] == ["lotus", "lotus"]
    assert tried.of_one_arm({}) == []


def test_the_axes_that_vary_come_in_the_order_of_lotus() -> None:
    rows = [
        row("a", x=1, patch_drop=0.1, sparsity=0.1),
        row("a", x=2, patch_drop=0.1, sparsity=0.2),
    ]
    assert tried.varied(rows) == ["sparsity", "x"]


def test_values_are_sorted_as_numbers_and_text_comes_last() -> None:
    rows = [row("a", x=value) for value in ("auto", 10, 9, None, 10)]
    assert tried.values(rows, "x") == [9, 10, "auto"]


def test_a_setting_is_named_by_the_axes_that_it_has() -> None:
    setting = {"sparsity": 0.3, "patch_drop": None, "issp.merge": "union"}
    assert tried.short(setting) == "s 30\u00a0%, issp.merge union"
    assert tried.tight(setting | {"mask_data_fraction": 0.125}) == "s30 f12.5"
    assert tried.words(setting) == "one-shot level 30\u00a0%, issp.merge union"


def test_of_many_axes_those_are_taken_in_which_most_settings_differ() -> None:
    rows = [row("a", sparsity=0.1, x=i, y=i == 0, z=i % 2) for i in range(6)]
    axes = tried.varied(rows)
    assert axes == ["x", "y", "z"]
    assert tried.telling(rows, axes, 2) == ["x", "z"]
    assert tried.telling(rows, axes, 3) == axes
