"""The table of trials in headless Chromium, and the figure that is linked with it."""

import json
from pathlib import Path

import pytest

from dashboards import ReportData
from tests.chromium import PROGRAM, Chromium
from tests.dashboards.in_browser import SCROLL

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(PROGRAM is None, reason="no chromium on this machine"),
    pytest.mark.xdist_group("chromium"),
]
FADED = """[...document.querySelectorAll('[data-figure="settings_lines"] .mark-line path')]
.filter((line) => Number(line.getAttribute('opacity')) < 0.1).length"""
STANDS_OUT = """[...document.querySelectorAll('[data-figure="settings_lines"] .mark-line path')]
.filter((line) => line.getAttribute('stroke-width') === '4').length"""


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


def settled(chromium: Chromium) -> None:
    """Wait until what was told to the drawing is drawn."""
    chromium.run("new Promise((done) => setTimeout(done, 150))")


def filtered(chromium: Chromium, words: str) -> None:
    chromium.run(
        f"{{ const box = document.getElementById('trial-filter'); box.value = {json.dumps(words)}; "
        "box.dispatchEvent(new Event('input')) }"
    )
    settled(chromium)


@pytest.fixture
def linked(chromium: Chromium, pages: dict[str, Path]) -> Chromium:
    """The page of a whole sweep, all figures drawn: 30 settings of LOTUS with three seeds each."""
    chromium.open(pages["whole"])
    assert chromium.run(SCROLL) > 8
    return chromium


def test_a_range_of_an_axis_narrows_the_lines_and_the_table(
    linked: Chromium, full: ReportData
) -> None:
    # With the keyboard: the first axis up to its second value.
    linked.run("document.querySelector('#lines-tools summary').click()")
    linked.run("document.querySelectorAll('#lines-tools select')[1].focus()")
    linked.run(
        "{ const box = document.activeElement; box.value = 1; "
        "box.dispatchEvent(new Event('change')) }"
    )
    settled(linked)
    lotus = full.trials[(full.trials["arm"] == "lotus") & (full.trials["sparsity"] <= 0.2)]
    assert sorted(rows(linked)) == sorted(lotus["name"])
    assert linked.run(FADED) == 18, "of 30 settings 12 have a level of 10 or 20 %"
    said = f"{len(lotus)} of {len(full.trials)} trials are in the table"
    assert linked.run("document.getElementById('lines-count').textContent").strip() == said
    linked.run("document.querySelector('.lines button').click()")
    settled(linked)
    assert (linked.run(FADED), len(rows(linked))) == (0, 100)


def test_the_mouse_draws_a_range_on_an_axis(linked: Chromium, full: ReportData) -> None:
    linked.run(
        "document.querySelector('.strip').scrollIntoView({block: 'center', behavior: 'instant'})"
    )
    left, top, height = linked.run(
        "(() => { const box = document.querySelectorAll('.strip')[1].getBoundingClientRect(); "
        "return [box.left + box.width / 2, box.top, box.height] })()"
    )
    for kind, part in (("mousePressed", 0.7), ("mouseMoved", 0.9), ("mouseReleased", 0.99)):
        linked.ask(
            "Input.dispatchMouseEvent",
            type=kind, x=left, y=top + part * height, button="left", buttons=1, clickCount=1,
        )  # fmt: skip
    settled(linked)
    wanted = full.trials[(full.trials["arm"] == "lotus") & (full.trials["patch_drop"] == 0.1)]
    assert sorted(rows(linked)) == sorted(wanted["name"])
    assert linked.run("document.querySelectorAll('.range:not([hidden])').length") == 1


def test_the_filter_of_the_table_narrows_the_lines(linked: Chromium) -> None:
    filtered(linked, "lotus-s0.30")
    assert linked.run(FADED) == 24
    filtered(linked, "")
    assert linked.run(FADED) == 0


def test_what_is_pointed_at_in_one_stands_out_in_the_other(linked: Chromium) -> None:
    linked.run(
        "document.querySelector('#trial-table tr[data-line]').dispatchEvent("
        "new MouseEvent('mouseover', {bubbles: true}))"
    )
    settled(linked)
    assert linked.run(STANDS_OUT) == 1
    assert linked.run("document.querySelectorAll('tr.pointed').length") == 3, "one for each seed"
    assert linked.complaints() == []


def seconds(chromium: Chromium, action: str) -> float:
    """What the page computes for an action, until it is drawn."""
    drawn = "requestAnimationFrame(() => setTimeout(done))"
    return chromium.busy_s(lambda: chromium.run(f"new Promise((done) => {{ {action}; {drawn} }})"))


def test_a_thousand_trials_and_their_lines_are_quick(
    chromium: Chromium, pages: dict[str, Path]
) -> None:
    """With more settings than are drawn as lines: the table has the others' trials too."""
    assert pages["thousand"].stat().st_size < 10_000_000
    assert chromium.busy_s(lambda: chromium.open(pages["thousand"])) < 3
    assert chromium.run(SCROLL) > 8
    change = "box.dispatchEvent(new Event('change'))"
    by_column = f"const box = document.getElementById('trial-sort'); box.value = 3; {change}"
    assert seconds(chromium, by_column) < 0.5
    up_to = "const box = document.querySelectorAll('#lines-tools select')[1]; box.value = 1"
    assert seconds(chromium, f"{up_to}; {change}") < 1
    settled(chromium)
    said = chromium.run("document.getElementById('lines-count').textContent").strip()
    assert said == "168 of 1,000 trials are in the table"
    row = "document.querySelector('#trial-table tr[data-line]')"
    pointed = f"{row}.dispatchEvent(new MouseEvent('mouseover', {{bubbles: true}}))"
    assert seconds(chromium, pointed) < 1
    assert chromium.complaints() == []
