"""Pictures without a browser."""

import io
import re

import pytest
import vl_convert
from PIL import Image, ImageChops

from dashboards import parts, style
from dashboards.figure import DataTable, Plot, specification
from dashboards.vega import static

HOSTILE = "<script>alert(1)</script>\"';}{datum.x} & \\u003c"


def plot(name: str = "a", **more: int) -> Plot:
    rows = [{"x": 1.0, "y": 2.0, "name": name}, {"x": 3.0, "y": 1.0, "name": "b"}]
    base = parts.chart(rows).encode(
        x=parts.x_axis("x", "x"), y=parts.y_axis("y", "y"),
        color=parts.coloured([name, "b"], style.ARM_COLOURS[:2]),
    )  # fmt: skip
    chart = base.mark_line(clip=True).properties(width=style.WIDTH, height=80)
    return Plot(chart=chart, title="T", alt="A", table=DataTable((), ()), **more)


@pytest.fixture(scope="module")
def drawn() -> str:
    return static.svg(specification(plot(HOSTILE)), "one")


def test_what_a_user_named_is_text_in_a_picture(drawn: str) -> None:
    assert "<script" not in drawn
    assert "&lt;script&gt;" in drawn


def test_a_picture_holds_no_style_attribute_that_a_policy_would_refuse(drawn: str) -> None:
    assert " style=" not in drawn
    assert "<style" not in drawn
    assert "href=" not in drawn


def test_identifiers_begin_with_the_name_of_the_figure(drawn: str) -> None:
    assert set(re.findall(r'\bid="([^"]*)', drawn)) == set(re.findall(r"url\(#([^)]*)", drawn))
    assert all(one.startswith("one-") for one in re.findall(r'\bid="([^"]*)', drawn))
    assert "one-0" in drawn


def test_colours_are_variables_with_a_light_value_behind(drawn: str) -> None:
    assert style.colour("arm-0") in drawn
    plain = style.light(drawn)
    assert "var(" not in plain
    assert style.COLOURS["arm-0"][0] in plain


def test_a_png_has_twice_the_pixels_and_room_for_its_title(drawn: str) -> None:
    width, height = map(float, re.findall(r'(?:width|height)="([\d.]+)"', drawn)[:2])
    short, long = (Image.open(io.BytesIO(static.png(drawn, t))) for t in ("T", "long title " * 20))
    assert short.format == "PNG"
    assert short.size[0] == round(2 * width)
    assert 2 * height < short.size[1] < long.size[1]
    assert short.getpixel((1, 1))[:3] == (255, 255, 255)


def test_a_hostile_title_is_drawn_as_text(drawn: str) -> None:
    plain, marked = (static.png(drawn, title) for title in ("a b", "a</text><text> b"))
    assert plain != marked


def test_equal_specifications_give_equal_pictures(drawn: str) -> None:
    again = static.svg(specification(plot(HOSTILE)), "one")
    assert again == drawn
    assert static.png(again, "T") == static.png(drawn, "T")


def test_a_specification_that_cannot_be_drawn_is_an_error() -> None:
    spec = specification(plot()) | {"mark": {"type": "no such mark"}}
    with pytest.raises(ValueError, match="conversion failed"):
        static.svg(spec, "x")


def test_what_is_no_picture_gets_no_title() -> None:
    with pytest.raises(ValueError, match="no SVG"):
        static.png("<html>", "T")


def test_a_specification_that_asks_the_network_is_refused() -> None:
    spec = specification(plot()) | {"data": {"url": "http://127.0.0.1:9/x.json"}}
    with pytest.raises(ValueError, match=r"127\.0\.0\.1"):
        static.svg(spec, "x")


def test_a_mark_with_one_paint_needs_no_layer_and_looks_the_same() -> None:
    marks = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><g fill="none">'
        '<line x1="0" x2="40" y1="5" y2="5" stroke="#0072b2" stroke-width="4" opacity="0.4"/>'
        '<path d="M2,8h20v8h-20Z" fill="#d55e00" opacity="0.5"/>'
        '<path d="M24,8h4v8h-4Z" fill="#d55e00" fill-opacity="0.9" opacity="0.5"/>'
        '<path d="M30,8h8v8h-8Z" fill="#d55e00" stroke="#000" opacity="0.5"/></g></svg>'
    )
    flat = static._flat(marks)
    assert (flat.count(" opacity="), flat.count("stroke-opacity=")) == (2, 1)
    assert flat.count("fill-opacity=") == 2
    one, other = (
        Image.open(io.BytesIO(vl_convert.svg_to_png(text))).convert("RGBA")
        for text in (marks, flat)
    )
    assert one.getbbox() is not None, "something is drawn"
    assert all(most <= 2 for _, most in ImageChops.difference(one, other).getextrema())
