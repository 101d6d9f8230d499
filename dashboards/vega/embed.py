"""What a page needs to draw figures: styles, one script, and the specifications as data."""

import json
from collections.abc import Iterable

from markupsafe import Markup

from dashboards import style
from dashboards.figure import Drawing
from dashboards.vega.bundle import bundle, mount

_TIP = """
.figure-tip{position:fixed;z-index:9;max-width:22rem;padding:.4rem .6rem;white-space:pre-line;
font-size:.8125rem;line-height:1.4;pointer-events:none;overflow-wrap:anywhere;border-radius:4px;
color:var(--figure-ink);background:var(--figure-paper);border:1px solid var(--figure-muted)}
.figure-tip[hidden]{display:none}
[data-figure]{min-width:0}
[data-figure]>svg{display:block;max-width:100%;height:auto}
@media print{.figure-tip{display:none}}
"""


def css() -> str:
    """The styles of figures: colours in light and dark, their size, and the box with values."""
    return style.css() + _TIP


def script() -> str:
    """One script that draws the figures; it asks nobody and evaluates no text."""
    return bundle() + "\n" + mount()


def specifications(drawings: Iterable[Drawing]) -> Markup:
    """The data block that `script` reads: name -> Vega-Lite JSON.

    It is no script, so that no policy stops it, and nothing in it ends it early.
    """
    found = {drawing.name: drawing.spec for drawing in drawings}
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(f'<script type="application/json" id="figure-specifications">{text}</script>')
