"""The look of all figures: one size, one font, one colour and marker per arm.

Colours are CSS variables, so that a figure follows the page between light and dark without being
drawn again. Behind each stands its value on a light page, for pictures that are in no page.
"""

import re
import textwrap
from typing import Any

FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
"""Three names with one set of widths: what vl-convert measures is what a browser shows."""

WIDTH = 560
"""Of what is drawn inside the axes, in CSS pixels; pages fit it to their room."""

COLOURS: dict[str, tuple[str, str]] = {
    "ink": ("#1f2328", "#e3e8ee"),
    "muted": ("#59636e", "#9aa6b2"),
    "grid": ("#e4e7eb", "#2c343d"),
    "paper": ("#ffffff", "#181d24"),
    "band": ("#0072b2", "#5ab0ea"),
    "second": ("#d55e00", "#ff8f57"),
    "green": ("#009e73", "#35c79c"),
    "mark": ("#b35900", "#f0a94a"),
    # Okabe-Ito colours, yellow left out (too faint on white); markers tell arms apart in print.
    "arm-0": ("#1f2328", "#e3e8ee"),
    "arm-1": ("#56b4e9", "#8fd0f7"),
    "arm-2": ("#e69f00", "#f2b632"),
    "arm-3": ("#009e73", "#35c79c"),
    "arm-4": ("#0072b2", "#5ab0ea"),
    "arm-5": ("#cc79a7", "#e29cc3"),
    "arm-6": ("#8c959f", "#a8b1bb"),
    "arm-7": ("#d55e00", "#ff8f57"),
    # Then Tol's muted ones.
    "arm-8": ("#332288", "#a79bf0"),
    "arm-9": ("#882255", "#e08fb5"),
    "arm-10": ("#117733", "#5fc98a"),
    "arm-11": ("#aa4499", "#e08ad2"),
    "arm-12": ("#999933", "#cfcf6b"),
    "arm-13": ("#661100", "#e39a86"),
    # An ordered quantity, along one hue order that survives grey print.
    "level-0": ("#08306b", "#9db8f2"),
    "level-1": ("#0072b2", "#5ab0ea"),
    "level-2": ("#009e73", "#35c79c"),
    "level-3": ("#e69f00", "#f2b632"),
    "level-4": ("#d55e00", "#ff8f57"),
    "level-5": ("#cc79a7", "#e29cc3"),
    # A heat map from little to much; its text is chosen by the step.
    "heat-0": ("#eff5fb", "#1c2a38"),
    "heat-1": ("#d3e4f3", "#1f3d57"),
    "heat-2": ("#a9cfe8", "#245377"),
    "heat-3": ("#73b2d8", "#2f6f9d"),
    "heat-4": ("#4292c6", "#5b9bc9"),
    "heat-5": ("#1f6fb2", "#8cbfe2"),
    "heat-6": ("#0b4a8f", "#c4e0f4"),
    "heat-text-low": ("#1f2328", "#e3e8ee"),
    "heat-text-high": ("#ffffff", "#0f1318"),
}
"""Name -> colour on a light and on a dark page."""

_VARIABLE = re.compile(r"var\(--figure-[a-z0-9-]+, (#[0-9a-f]{6})\)")


def colour(name: str) -> str:
    """A colour of COLOURS as a CSS variable with its light value.

    Raises:
        KeyError: there is no such colour.
    """
    return f"var(--figure-{name}, {COLOURS[name][0]})"


def light(text: str) -> str:
    """The same text with the colours of a light page instead of variables."""
    return _VARIABLE.sub(r"\1", text)


def css() -> str:
    """The variables of all figures for a page: light, dark, and light again on paper."""
    bright, dark = (
        "".join(f"--figure-{name}:{both[side]};" for name, both in COLOURS.items())
        for side in (0, 1)
    )
    return f":root{{{bright}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"


INK, MUTED, GRID, PAPER = colour("ink"), colour("muted"), colour("grid"), colour("paper")
BAND, SECOND, GREEN, MARK = colour("band"), colour("second"), colour("green"), colour("mark")
ARM_COLOURS = tuple(colour(f"arm-{i}") for i in range(14))
ARM_SHAPES = (
    "diamond", "square", "triangle-up", "triangle-right",
    "circle", "triangle-down", "cross", "triangle-left",
)  # fmt: skip
LEVEL_COLOURS = tuple(colour(f"level-{i}") for i in range(6))
LEVEL_SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
HEAT_COLOURS = tuple(colour(f"heat-{i}") for i in range(7))
SOLID, DASHED, DOTTED = [1, 0], [6, 3], [2, 3]


def arm_look(number: int) -> tuple[str, str]:
    """Colour and marker for the number of a look; the first 64 are all different."""
    round_, first = divmod(number, len(ARM_COLOURS))
    return ARM_COLOURS[first], ARM_SHAPES[(first + round_) % len(ARM_SHAPES)]


def wrapped(text: str, width: int) -> list[str]:
    """A text in lines of at most `width` characters; long words are broken."""
    return textwrap.wrap(text, max(width, 10), break_on_hyphens=False) or [""]


def config() -> dict[str, Any]:
    """The Vega-Lite configuration of every figure."""
    text = {"labelFontSize": 12, "titleFontSize": 12.5, "titleFontWeight": "normal"}
    return {
        "aria": False,  # the page names the figure; a label for each mark would double its size
        "background": None,
        "font": FONT,
        "padding": 4,
        "customFormatTypes": False,
        "view": {"stroke": None},
        "axis": text | {
            "labelColor": MUTED, "titleColor": INK, "domainColor": MUTED, "tickColor": MUTED,
            "gridColor": GRID, "labelLimit": 210, "labelOverlap": "greedy", "titlePadding": 8,
            "titleLimit": 540, "tickCount": 6,
        },
        "axisY": {"domain": False, "ticks": False, "labelPadding": 6},
        "legend": text | {
            "orient": "bottom", "direction": "horizontal", "columns": 4, "labelColor": INK,
            "titleColor": INK, "labelLimit": 270, "symbolSize": 70, "symbolOpacity": 1,
            "title": None,
        },
        "header": text | {
            "labelColor": INK, "titleColor": INK, "labelFontWeight": "bold", "labelAnchor": "start",
            "labelLimit": 260, "title": None,
        },
        "title": {
            "color": INK, "fontSize": 13, "fontWeight": "bold", "anchor": "start", "frame": "group",
            "limit": 520,
        },
        "text": {"color": INK, "fontSize": 12, "font": FONT},
        "rule": {"color": MUTED},
        "line": {"strokeWidth": 2},
        "point": {"filled": True, "size": 60, "opacity": 1},
    }  # fmt: skip
