"""The gallery of tickets. TEST DATA, made up."""

from typing import Any

import pytest

from dashboards.gallery import STEPS, attention, examples, path

PICTURE = "data:image/png;base64,AAAA"


def image(kept: str = "1101", **changes: Any) -> dict[str, Any]:
    return {
        "picture": PICTURE, "class": {"number": 3, "name": "cat"}, "right": True,
        "predicted": {"number": 3, "name": "cat"}, "attention": [0.1, 0.2, 0.3, 0.4], "kept": kept,
    } | changes  # fmt: skip


def recording(drop: float, *images: Any, columns: Any = 2) -> dict[str, Any]:
    return {"split": "validation", "patch_drop": drop, "columns": columns, "images": list(images)}


def test_an_image_stands_once_with_a_ticket_for_each_patch_drop() -> None:
    wrong = image("1000", predicted={"number": 5, "name": "dog"}, right=False)
    (found,) = examples([recording(0.75, wrong), recording(0.25, image())])
    assert (found.name, found.rows, found.columns, found.most) == ("cat", 2, 2, "1.6")
    said = [(t.drop.replace("\u00a0", " "), t.kept, t.says, t.right) for t in found.tickets]
    assert said == [("25 %", 3, "predicted cat", True), ("75 %", 1, "predicted dog", False)]
    assert [t.dropped for t in found.tickets] == ["M0 1h1v1h-1z", "M1 0h1v1h-1zM0 1h2v1h-2z"]


def test_neighbours_in_a_row_become_one_shape() -> None:
    assert path([0, 1, 2, 3, 5], 3) == "M0 0h3v1h-3zM0 1h1v1h-1zM2 1h1v1h-1z"
    assert path([], 3) == ""


def test_attention_goes_from_the_least_to_the_most_of_an_image() -> None:
    steps = attention([0.0, 0.5, 1.0], 3)
    assert list(steps) == [0, STEPS // 2, STEPS - 1]
    assert attention([0.2, 0.2], 2) == {0: "M0 0h2v1h-2z"}
    assert attention([], 2) == {}
    assert attention([0.1, None], 2) == {}


def test_an_image_that_differs_between_recordings_is_left_out() -> None:
    other = image(picture="data:image/png;base64,BBBB")
    assert examples([recording(0.1, image()), recording(0.3, other)]) == []


@pytest.mark.parametrize(
    "odd",
    [
        None, [], {}, recording(0.1, image(picture="https://example.org/x.png")),
        recording(0.1, image(picture='data:image/png;base64,AA"onload="x')),
        recording(0.1, image("10<b>")), recording(0.1, image(attention=[1.0])),
        recording(0.1, image(attention=None)), recording(0.1, None),
        recording(0.1, image(), columns="x"), recording(0.1, image(), columns=0),
        recording(float("nan"), image()), recording(0.1, image("")),
    ],
)  # fmt: skip
def test_what_is_no_recording_is_left_out(odd: Any) -> None:
    assert examples([odd]) == []
    assert len(examples([odd, recording(0.2, image())])) == 1
