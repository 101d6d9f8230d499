"""The page as people see it: in headless Chromium, at four widths, light, dark and on paper."""

import json
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from dashboards import ReportData, embedded
from dashboards.files import trials_csv
from tests.chromium import PROGRAM, Chromium
from tests.dashboards.in_browser import RIGHT_TO_LEFT, SCROLL, undrawn
from tests.dashboards.test_report import EVIL

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(PROGRAM is None, reason="no chromium on this machine"),
    pytest.mark.xdist_group("chromium"),
]
LOOKS = Path(__file__).with_name("looks.js").read_text("utf-8")
WIDTHS = (360, 768, 1400, 2560)
KINDS = ("whole", "one", "failures", "thousand", "hostile", "empty")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_cut_and_nothing_scrolls_sideways_at_any_width(
    kind: str, chromium: Chromium, pages: dict[str, Path]
) -> None:
    chromium.open(pages[kind])
    chromium.run("for (const part of document.querySelectorAll('details')) part.open = true")
    figures = chromium.run("document.querySelectorAll('[data-figure]').length")
    assert (figures > 8) == (kind in ("whole", "thousand"))
    for width in WIDTHS:
        chromium.size(width)
        assert chromium.run(SCROLL) == figures
        assert chromium.run(LOOKS) == [], width
    assert chromium.complaints() == []


@pytest.mark.parametrize("kind", ["whole", "hostile"])
def test_without_the_script_everything_is_there_too(
    kind: str, chromium: Chromium, pages: dict[str, Path], full: ReportData
) -> None:
    chromium.open(pages[kind], 360, script=False)
    assert chromium.complaints() == []
    chromium.ask("Emulation.setScriptExecutionDisabled", value=False)
    assert chromium.run("document.getElementById('trial-tools').hidden")
    rows = chromium.run("document.querySelectorAll('#trial-table tbody tr').length")
    assert rows == len(full.trials)
    assert chromium.run(LOOKS) == []


def test_a_policy_without_eval_holds(chromium: Chromium, pages: dict[str, Path]) -> None:
    source = pages["whole"].read_text("utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', source)
    assert policy is not None
    assert "unsafe" not in policy[1]
    chromium.open(pages["whole"])
    assert chromium.run("document.getElementById('trial-count').textContent").startswith("100 of")
    assert chromium.complaints() == []


@pytest.mark.parametrize(("kind", "dark"), [("whole", False), ("whole", True), ("failures", False)])
def test_axe_finds_nothing_serious(
    kind: str, dark: bool, chromium: Chromium, pages: dict[str, Path]
) -> None:
    chromium.open(pages[kind], dark=dark)
    # Rows are alike, and axe takes seconds for hundreds of them.
    chromium.run(
        "for (const row of document.querySelectorAll('tbody tr:nth-child(n+8)')) row.remove()"
    )
    chromium.run(files("axe_core_python").joinpath("axe.min.js").read_text("utf-8") + ";0")
    found = json.loads(chromium.run(
        "axe.run().then((r) => JSON.stringify(r.violations.map((v) => "
        "[v.impact, v.id, v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200))])))"
    ))  # fmt: skip
    assert [one for one in found if one[0] in ("serious", "critical")] == []


def test_few_tab_stops_and_the_keyboard_reaches_every_control(
    chromium: Chromium, pages: dict[str, Path]
) -> None:
    chromium.open(pages["whole"])
    controls = chromium.run(
        "[...document.querySelectorAll('a[href], button, input, select, summary')].filter((c) => "
        "c.checkVisibility() && !c.disabled).length"
    )
    reached: list[int] = []
    chromium.run(
        "window.stops = [...document.querySelectorAll('a[href], button, input, select, summary')]"
    )
    for _ in range(controls + 5):
        chromium.key("Tab", 9)
        place = chromium.run("stops.indexOf(document.activeElement)")
        if reached and place == reached[0]:
            break
        reached.append(place)
    assert len({place for place in reached if place >= 0}) == controls
    assert controls < 70
    assert chromium.run("stops[0].textContent") == "Skip to the answer"


def test_a_mailed_page_gives_its_tables_away(
    chromium: Chromium, pages: dict[str, Path], tmp_path: Path, full: ReportData
) -> None:
    alone = tmp_path / "mailed.html"
    alone.write_bytes(pages["whole"].read_bytes())
    chromium.open(alone)
    text = chromium.run(
        "new Promise((done) => { URL.createObjectURL = (blob) => { blob.text().then(done); return "
        "'#' }; document.getElementById('trials-csv').click() })"
    )
    assert text.encode() == trials_csv(full.trials)
    links = chromium.run(
        "[...document.querySelectorAll('a.file')].map((a) => [a.download, a.href])"
    )
    assert len(links) > 8
    assert all(href.startswith("data:") and name for name, href in links)


def test_every_table_of_trials_fits_into_a_page_or_is_named_as_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = embedded.all_trials(b"a,b\n1,2\n", 1)
    assert found is not None
    assert found.href.startswith("data:application/gzip;base64,")
    monkeypatch.setattr(embedded, "MOST_BYTES", 10)
    assert embedded.all_trials(b"a,b\n1,2\n", 1) is None
    assert embedded.all_trials(b"", 0) is None


def test_hostile_names_are_text(chromium: Chromium, pages: dict[str, Path]) -> None:
    chromium.open(pages["hostile"])
    assert chromium.run("document.querySelectorAll('script:not([type])').length") == 1
    assert chromium.run("document.querySelectorAll('img').length") == 0
    assert chromium.run("document.querySelector('h1').textContent") == EVIL
    assert RIGHT_TO_LEFT in chromium.run("document.body.textContent")
    assert chromium.complaints() == []


@pytest.mark.parametrize("kind", ["whole", "failures"])
def test_on_paper_every_table_keeps_its_last_column(
    kind: str, chromium: Chromium, pages: dict[str, Path]
) -> None:
    """A4 has 794 CSS pixels, 96 an inch, less the margins of Chromium."""
    chromium.open(pages[kind], 718, 1000)
    chromium.ask("Emulation.setEmulatedMedia", media="print")
    chromium.run("dispatchEvent(new Event('beforeprint'))")
    assert chromium.run(LOOKS) == []
    assert chromium.run("document.querySelectorAll('#trial-table tbody tr').length") > 20
    paper = chromium.pdf()
    assert paper.startswith(b"%PDF")


def test_the_answer_is_read_without_scrolling(chromium: Chromium, pages: dict[str, Path]) -> None:
    chromium.open(pages["whole"], 1400, 900)
    below = chromium.run(
        "[...document.querySelectorAll('#answer dd, #answer img, #answer li, .verdict')].map((n) =>"
        " n.getBoundingClientRect().bottom)"
    )
    assert len(below) > 8
    assert max(below) <= 900


@pytest.mark.parametrize("kind", ["whole", "failures"])
def test_no_table_is_wider_than_the_width_below_which_it_becomes_a_list(
    kind: str, chromium: Chromium, pages: dict[str, Path]
) -> None:
    chromium.open(pages[kind], 3_000)
    chromium.run("for (const part of document.querySelectorAll('details')) part.open = true")
    found = chromium.run(
        "[...document.querySelectorAll('.table table')].map((t) => { t.style.width = '1px'; return "
        "[Number(t.className.replace('stack-', '')), t.getBoundingClientRect().width] })"
    )
    assert len(found) > 8
    assert [pair for pair in found if pair[0] < pair[1]] == []


def test_the_page_of_a_running_sweep_loads_itself_again_while_the_reader_wants_it(
    chromium: Chromium, full: ReportData, tmp_path: Path
) -> None:
    page = tmp_path / "live.html"
    page.write_text(undrawn(replace(full, live=True)), "utf-8")
    chromium.open(page)
    assert "written again while the sweep runs" in chromium.run("document.body.innerText")
    assert chromium.run("document.getElementById('renew-box').checked")
    page.write_text(undrawn(full), "utf-8")
    chromium.open(page)
    assert chromium.run("document.getElementById('renew-box')") is None
