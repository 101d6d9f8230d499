"""Pictures of a specification without a browser: SVG, and PNG made from it."""

import json
import re
from functools import lru_cache
from typing import Any
from xml.sax.saxutils import escape

import vl_convert

from dashboards import style
from dashboards.vega.bundle import VEGA_LITE

_KEPT = 32  # pictures: of a report that is made again, those that did not change
_PNG_SCALE = 2.0  # of CSS pixels
_TITLE_PX, _LINE_PX, _PAD_PX = 15, 20, 12
_SIZE = re.compile(r'<svg [^>]*?width="([\d.]+)" height="([\d.]+)"')
_MARK = re.compile(r'<(?:line|path) [^>]* opacity="[^>]*>')
_ID = re.compile(r'(\bid="|url\(#)([A-Za-z][\w-]*)')


def svg(spec: dict[str, Any], name: str) -> str:
    """A specification as SVG, to stand in a page.

    Colours are CSS variables with a value for the light page behind each. Identifiers begin with
    `name`, so that several figures can stand in one page.

    Raises:
        ValueError: Vega-Lite cannot draw the specification.
    """
    return _svg(json.dumps(spec), name)


@lru_cache(maxsize=_KEPT)
def _svg(spec: str, name: str) -> str:
    drawn: str = vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE, allowed_base_urls=[])
    # Vega numbers them through the life of the process; equal figures shall be equal text.
    numbers: dict[str, int] = {}
    return _ID.sub(lambda m: f"{m[1]}{name}-{numbers.setdefault(m[2], len(numbers))}", drawn)


def _flat(drawn: str) -> str:
    """The same picture without layers for marks that have one paint: its own opacity does.

    The rasteriser gives each mark with `opacity` a layer as large as the picture, ten seconds for
    a thousand intervals.
    """

    def paint(mark: re.Match[str]) -> str:
        filled, stroked = ' fill="' in mark[0], ' stroke="' in mark[0]
        own = f' {"fill" if filled else "stroke"}-opacity="'
        if filled == stroked or own in mark[0]:
            return mark[0]
        return mark[0].replace(' opacity="', own)

    return _MARK.sub(paint, drawn)


@lru_cache(maxsize=_KEPT)
def png(drawn: str, title: str) -> bytes:
    """The PNG of an SVG from `svg`, with its title above, on white, at twice the CSS pixels."""
    size = _SIZE.match(drawn)
    if size is None:
        raise ValueError(f"no SVG with a size: {drawn[:80]}")
    width, height = float(size[1]), float(size[2])
    lines = style.wrapped(title, int((width - 2 * _PAD_PX) / (0.52 * _TITLE_PX)))
    top = _LINE_PX * len(lines) + _PAD_PX
    texts = "".join(
        f'<text x="{_PAD_PX}" y="{_LINE_PX * (i + 1)}" font-family="{style.FONT}" '
        f'font-size="{_TITLE_PX}" font-weight="bold" fill="#1f2328">{escape(line)}</text>'
        for i, line in enumerate(lines)
    )
    moved = _flat(drawn).replace("<svg ", f'<svg y="{top}" ', 1)
    whole = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height + top:g}">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{texts}{moved}</svg>'
    )
    picture: bytes = vl_convert.svg_to_png(style.light(whole), scale=_PNG_SCALE)
    return picture
