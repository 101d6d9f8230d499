"""The page as people see it: in headless Chromium, at four widths, light, dark and on paper."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pandas as pd
import pytest

from dashboards import ReportData, embedded, write_report
from dashboards.data import plain
from dashboards.files import trials_csv
from dashboards.page import render
from tests.chromium import PROGRAM, Chromium, browser
from tests.dashboards.conftest import make_summary, make_trials
from tests.dashboards.test_report import EVIL, hostile

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(PROGRAM is None, reason="no chromium on this machine"),
    pytest.mark.xdist_group("chromium"),
]
LOOKS = Path(__file__).with_name("looks.js").read_text("utf-8")
WIDTHS = (360, 768, 1400, 2560)
SCROLL = """(async () => {
  for (let y = 0; y < document.documentElement.scrollHeight; y += 600) {
    scrollTo(0, y);
    await new Promise((done) => setTimeout(done, 20));
  }
  const places = [...document.querySelectorAll("[data-figure]")];
  const start = performance.now();
  while (places.some((p) => !p.dataset.drawn) && performance.now() - start < 20000) {
    await new Promise((done) => setTimeout(done, 50));
  }
  return places.filter((p) => p.dataset.drawn === "yes").length;
})()"""
"""Brings every figure into sight; the number of those that the script has drawn."""

KINDS = ("whole", "one", "failures", "thousand", "hostile", "empty")
RIGHT_TO_LEFT = "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd"


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


def undrawn(data: ReportData) -> str:
    """A page without figures, which are the same on every page and take seconds."""
    summary = plain(data.summary)
    return render(summary, data, [], [], trials_csv(data.trials))


def thousand() -> pd.DataFrame:
    trials = pd.concat([make_trials()] * 4, ignore_index=True).iloc[:1_000]
    return trials.assign(
        key=[f"{i:064x}" for i in range(1_000)], name=[f"trial-{i}" for i in range(1_000)]
    )


def failures() -> pd.DataFrame:
    trials = make_trials()
    trials = trials[trials["arm"].isin(["lotus", "dense", "magnitude"])].copy()
    trials.loc[trials.index[::3], "status"] = "FAILED"
    trials.loc[trials.index[::3], "error"] = "RuntimeError: " + "CUDA_out_of_memory_" * 20
    return trials


@pytest.fixture(scope="session")
def pages(
    full: ReportData, empty: ReportData, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    trials = make_trials()
    one = trials[trials["arm"] == "lotus"].iloc[:1]
    broken = failures()
    odd = hostile(full)
    odd.trials.loc[odd.trials.index[5], "name"] = RIGHT_TO_LEFT
    made = {
        "one": replace(full, trials=one, summary=make_summary(one, planned=1), pictures=()),
        "failures": replace(full, trials=broken, summary=make_summary(broken), pictures=()),
        "thousand": replace(full, trials=thousand()),
        "hostile": odd,
        "empty": empty,
    }
    found = {"whole": write_report(full, folder / "whole")}
    for name, data in made.items():
        found[name] = folder / f"{name}.html"
        found[name].write_text(undrawn(data), "utf-8", "replace")
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_cut_and_nothing_scrolls_sideways_at_any_width(
    kind: str, chromium: Chromium, pages: dict[str, Path]
) -> None:
    chromium.open(pages[kind])
    chromium.run("for (const part of document.querySelectorAll('details')) part.open = true")
    figures = chromium.run("document.querySelectorAll('[data-figure]').length")
    assert (figures > 8) == (kind == "whole")
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
    assert controls < 60
    assert chromium.run("stops[0].textContent") == "Skip to the answer"


def rows(chromium: Chromium) -> list[str]:
    found: list[str] = chromium.run(
        "[...document.querySelectorAll('#trial-table tbody tr:not(.group)')].map((r) => "
        "r.cells[0].textContent)"
    )
    return found


def choose(chromium: Chromium, name: str, text: str) -> None:
    chromium.run(
        f"{{ const box = document.getElementById('{name}'); box.value = [...box.options].find((o) "
        f"=> o.textContent === {json.dumps(text)}).value; box.dispatchEvent(new Event('change')) }}"
    )


def test_trials_are_filtered_sorted_grouped_and_columns_chosen(
    chromium: Chromium, pages: dict[str, Path], full: ReportData
) -> None:
    chromium.open(pages["whole"])
    assert len(rows(chromium)) == 100
    chromium.run(
        "{ const box = document.getElementById('trial-filter'); box.value = 'LOTUS seed1'; "
        "box.dispatchEvent(new Event('input')) }"
    )
    wanted = full.trials[full.trials["name"].str.contains(r"lotus.*seed1")]
    assert sorted(rows(chromium)) == sorted(wanted["name"])
    choose(chromium, "trial-sort", "Val. accuracy")
    by_val = wanted.sort_values("final/deployed_val_accuracy")["final/deployed_val_accuracy"]
    shown = chromium.run(
        "[...document.querySelectorAll('#trial-table tbody tr')].map((r) => "
        "Number([...r.cells].find((c) => c.dataset.l === 'Val. accuracy').dataset.v))"
    )
    assert shown == pytest.approx(list(by_val))
    chromium.run("document.getElementById('trial-turn').click()")
    assert rows(chromium)[0] == wanted.loc[by_val.index[-1], "name"]
    choose(chromium, "trial-group", "Mask data")
    heads = chromium.run("[...document.querySelectorAll('tr.group')].map((r) => r.textContent)")
    assert [head.replace("\u00a0", " ").split(" · ")[:2] for head in heads] == [
        [f"Mask data: {f}", "10 trials"] for f in ("10 %", "30 %", "100 %")
    ]
    chromium.run("document.querySelectorAll('#trial-columns input')[0].click()")
    assert not chromium.run("document.querySelector('#trial-table th').checkVisibility()")


def test_a_thousand_trials_are_quick(chromium: Chromium, pages: dict[str, Path]) -> None:
    assert pages["thousand"].stat().st_size < 10_000_000
    chromium.open(pages["thousand"])
    drawn_ms = chromium.run("performance.timing.loadEventEnd - performance.timing.navigationStart")
    assert drawn_ms < 3_000
    sorted_ms = chromium.run(
        "(() => { const start = performance.now(); "
        "const box = document.getElementById('trial-sort'); box.value = 3; "
        "box.dispatchEvent(new Event('change')); document.body.offsetHeight; "
        "return performance.now() - start })()"
    )
    assert sorted_ms < 500


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
    assert len(rows(chromium)) > 20
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
