"""What stands in a page, and a page that draws under a strict policy."""

import base64
import hashlib
import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dashboards import ReportData, style
from dashboards.figure import Drawing
from dashboards.figures import FIGURES, drawn
from dashboards.vega import embed
from tests.dashboards.test_search import HALVING

EVIL = "</script><script>window.bad=1</script><!--"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def drawings(full: ReportData) -> list[Drawing]:
    """All figures, of a sweep whose arms have hostile names."""
    arms = [row | {"label": f"{EVIL} {row['arm']}"} for row in full.summary["known_arms"]]
    return drawn(full.summary | HALVING | {"known_arms": arms})


def test_every_colour_has_a_value_for_light_and_dark_pages() -> None:
    text = embed.css()
    bright, dark = text.split("@media screen and (prefers-color-scheme:dark)")
    for name, (on_light, on_dark) in style.COLOURS.items():
        assert f"--figure-{name}:{on_light};" in bright
        assert f"--figure-{name}:{on_dark};" in dark


def test_names_end_no_data_block_and_come_back_as_they_were(drawings: list[Drawing]) -> None:
    block = str(embed.specifications(drawings))
    inside = block.removeprefix('<script type="application/json" id="figure-specifications">')
    inside = inside.removesuffix("</script>")
    assert "<" not in inside
    assert json.loads(inside) == {d.name: json.loads(json.dumps(d.spec)) for d in drawings}
    assert EVIL[:20] in repr(json.loads(inside)["finetune"]["datasets"])


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def page(drawings: list[Drawing]) -> str:
    """A page that shows figures and reports what it refused to do."""
    watch = (
        "window.said=[];addEventListener('securitypolicyviolation',"
        "e=>said.push('refused '+e.violatedDirective+' '+e.blockedURI));"
        "addEventListener('error',e=>said.push('error '+e.message));"
        "for(const k of ['error','warn']){console[k]=(...a)=>said.push(k+' '+a.join(' '))}"
        "setInterval(()=>document.documentElement.dataset.said=JSON.stringify(said),50);"
    )
    script, css = embed.script(), embed.css()
    allowed = f"style-src {_hash(css)}; script-src {_hash(watch)} {_hash(script)}"
    figures = "".join(
        f'<figure><div data-figure="{d.name}" role="img" aria-label="{html.escape(d.alt)}">'
        f"{d.svg}</div></figure>"
        for d in drawings
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta '
        f'http-equiv="Content-Security-Policy" content="default-src \'none\'; {allowed}">'
        f"<title>Figures</title><style>{css}</style><script>{watch}</script></head><body>"
        f"{figures}{embed.specifications(drawings)}<script>{script}</script></body></html>"
    )


DRAWN = 'data-drawn="yes"'
"""What the page says of each figure once it is drawn."""


def browsed(path: Path, scheme: int, width: int = 1000) -> str:
    """The page as Chromium has it in the end; scheme 0 is dark, 1 light."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom",
        f"--user-data-dir={path.parent / 'profile'}", f"--window-size={width},9000",
        f"--blink-settings=preferredColorScheme={scheme}", "--virtual-time-budget=20000",
        path.as_uri(),
    ]  # fmt: skip
    found = ""
    for _ in range(3):  # a starved browser can spend its time before it has painted once
        found = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=240,
            env=os.environ | {"HOME": str(path.parent)},
        ).stdout  # fmt: skip
        if DRAWN in found:
            break
    return found


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_every_figure_is_drawn_under_a_strict_policy_in_light_and_dark(
    drawings: list[Drawing], tmp_path: Path
) -> None:
    assert [d.name for d in drawings] == [figure.name for figure in FIGURES]
    path = tmp_path / "page.html"
    path.write_text(page(drawings), "utf-8")
    for scheme, width in ((1, 1000), (0, 360)):
        found = browsed(path, scheme, width)
        said = re.search(r'data-said="([^"]*)"', found)
        assert said is not None
        assert json.loads(html.unescape(said[1])) == []
        assert found.count(DRAWN) == len(drawings)
        body = found.partition("<body>")[2].partition('<script type="application/json"')[0]
        assert "<script" not in body
        assert EVIL.partition("<!--")[0][:9] not in body
