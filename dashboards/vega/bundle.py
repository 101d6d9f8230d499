"""The scripts that draw figures in a browser.

`bundle.js` is Vega, Vega-Lite and the Vega interpreter in one file, without anything else. It is
made by `make vega` from the sources inside vl-convert, so that the browser and `static.py` draw
with one version. It needs no `eval`: the interpreter walks parsed expressions instead.
"""

from functools import cache
from importlib.metadata import version as installed
from importlib.resources import files

import vl_convert

VEGA_LITE = "6.4"
"""The version of Vega-Lite that specifications are written for: that of Altair's schema."""

_LITE = "6.4.1"
_SNIPPET = """import { parse, View } from "/npm/vega@VEGA/+esm";
import { compile } from "/npm/vega-lite@LITE/+esm";
import { expressionInterpreter as interpreter } from "/npm/vega-interpreter@2.0.0/+esm";
window.lotusVega = { version: "VERSION", parse, View, compile, interpreter };"""
"""The addresses are those under which vl-convert keeps its copies."""
_START = '(() => {"use strict";'


def version() -> str:
    """What is in the bundle: `vl-convert 1.9.0.post1, Vega 6.2.0, Vega-Lite 6.4`."""
    return (
        f"vl-convert {installed('vl-convert-python')}, Vega {vl_convert.get_vega_version()}, "
        f"Vega-Lite {VEGA_LITE}"
    )


def build() -> str:
    """The text of `bundle.js`; takes about half a minute.

    Raises:
        ValueError: vl-convert has other versions than those that are named here.
    """
    snippet = _SNIPPET.replace("VERSION", version())
    snippet = snippet.replace("VEGA", vl_convert.get_vega_version()).replace("LITE", _LITE)
    text: str = vl_convert.javascript_bundle(snippet, vl_version=VEGA_LITE)
    # In a function: a page has other scripts, and here are hundreds of short names.
    return f"{_START}\n{text}\n}})();\n"


@cache
def bundle() -> str:
    """The committed bundle."""
    return _read("bundle.js")


@cache
def mount() -> str:
    """The script that draws the figures of a page with the bundle."""
    return _read("mount.js")


def _read(name: str) -> str:
    return files("dashboards.vega").joinpath(name).read_text("utf-8")
