import json
import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dashboards import Picture, ReportData, write_report
from dashboards.data import plain
from dashboards.figures import FIGURES, halving
from dashboards.files import OLDER_FIGURES
from dashboards.page import coded
from dashboards.vega.bundle import bundle
from tests.dashboards.conftest import make_gallery, make_summary

SECTIONS = (
    "The answer",
    "Loss by sparsity, before fine-tuning",
    "The recommended setting in numbers",
    "Essential sparsity",
    "Accuracy against cost",
    "Arms and controls",
    "Seed systems",
    "Instant-Soup pruning by mask data fraction",
    "Fine-tuning",
    "Data lottery tickets",
    "Masks: layers and overlap",
    "Cost",
    "The paper's claims",
    "Why did ISSP collapse?",
    "All trials",
    "What was not measured",
    "Reproduce",
)
PICTURES = ("tickets_d0.1", "tickets_d0.3", "tickets_d0.5")
ALWAYS = (
    "The answer", "The recommended setting in numbers", "Cost", "All trials",
    "What was not measured", "Reproduce",
)  # fmt: skip
EVIL = "<script>alert('x')</script>\"><img src=https://evil.example/a.png onerror=alert(1)>"


class Page(HTMLParser):
    """Tags with attributes, headings and visible text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "input"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("script", "style"):
            self.text += data
        if self._open and self._open[-1] == "h2":
            self.headings.append(data)


@pytest.fixture(scope="module")
def written(full: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(full, tmp_path_factory.mktemp("full")).parent


def hostile(full: ReportData) -> ReportData:
    """Every text that a user can choose says something dangerous."""
    trials = full.trials.copy()
    for column in ("name", "arm", "error", "key"):
        trials[column] = trials[column].astype(object)
        trials.loc[trials.index[:4], column] = f"../../{EVIL}\n\x1b[31m\x00" + "x" * 300
    trials.loc[trials.index[:4], "status"] = "FAILED"
    trials[EVIL] = EVIL
    trials["time/" + EVIL + "_s"] = 1.0
    summary: dict[str, Any] = json.loads(json.dumps(plain(full.summary)))
    summary |= {"sweep": EVIL, "warnings": [EVIL], "not_measured": [EVIL]}
    summary["arms"][1]["arm"] = EVIL + "$x^$"
    summary["recommended"] |= {"reason": EVIL, "arm": EVIL, "name": EVIL, "scope": EVIL}
    summary["answer"] = dict.fromkeys(summary["answer"], EVIL)
    summary["finetuning"] |= {EVIL: summary["finetuning"]["lotus"]}
    summary["comparisons"][0] |= {"a": EVIL, "verdict": EVIL, "scope": EVIL, "would_decide": EVIL}
    summary["essential_sparsity"]["scope"] = EVIL
    summary["stage_seconds"][0]["stage"] = EVIL
    summary["by_mask_data"] = [row | {"arm": EVIL} for row in summary["by_mask_data"]]
    summary["essential_sparsity"]["detector"] = EVIL
    summary["cost"] |= {"device": EVIL, "words": EVIL}
    return replace(
        full,
        summary=summary,
        trials=trials,
        pictures=tuple(replace(p, title=f"../{EVIL}") for p in full.pictures),
        gallery=make_gallery(EVIL),
        sweep_yaml=EVIL,
        facts={EVIL: EVIL},
    )


def test_a_full_sweep_writes_every_file(written: Path) -> None:
    names = {str(p.relative_to(written)) for p in written.rglob("*") if p.is_file()}
    figures = tuple(figure.name for figure in FIGURES if figure is not halving.FIGURE)
    assert names == {"report.html", "summary.json", "trials.csv", "files.json"} | {
        f"figures/{name}.png" for name in figures + PICTURES
    }


def test_the_page_fetches_nothing(written: Path) -> None:
    page = Page(written / "report.html")
    for _, attributes in page.tags:
        for name in ("src", "href", "data", "srcset", "action", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    source = (written / "report.html").read_text()
    # Vega can fetch and is never asked to: the policy stops it, and Chromium sees no request.
    own = source.replace(bundle(), "")
    assert len(own) < len(source)
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest", own)
    assert "default-src 'none'" in source


def test_the_policy_allows_exactly_our_script(written: Path) -> None:
    page = Page(written / "report.html")
    assert len([a for t, a in page.tags if t == "script" and "type" not in a]) == 1
    policy = next(a["content"] or "" for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert "unsafe-inline" not in policy
    assert policy.count("sha256-") == 2
    assert not any(name.startswith("on") or name == "style" for _, a in page.tags for name in a)


def test_every_section_stands_in_order(written: Path) -> None:
    headings = [h for h in Page(written / "report.html").headings if h != "Warnings"]
    assert tuple(headings) == SECTIONS


def test_every_image_has_a_text_for_who_cannot_see_it(written: Path) -> None:
    tags = Page(written / "report.html").tags
    drawn = [a for t, a in tags if t == "div" and a.get("role") == "img"]
    assert len(drawn) == len(FIGURES) - 1
    assert all(len(figure["aria-label"] or "") > 20 for figure in drawn)
    images = [a for t, a in tags if t == "img"]
    assert len(images) == len(PICTURES)
    assert all(len(image["alt"] or "") > 20 and int(image["width"] or 0) > 0 for image in images)


def test_the_headline_gives_the_key_figures(written: Path) -> None:
    text = Page(written / "report.html").text.replace("\u00a0", " ")
    for said in (
        "cifar10-vit-small",
        "95 % interval, other seeds: 30 % to 39.5 %",
        "Recommended: LOTUS (one-shot level 30 %, final sparsity 50 %, 10 % of the patches "
        "dropped, masks from 10 % of the data).",
        "96.7 % against 97.1 % for dense with equal fine-tuning (mean of 3 seeds)",
        "MACs per image, relative to dense0.94×0.90× on the kept patches alone",
        "Cost14 CPU-hoursInstead of 37 without sharing stages.",
        "14 CPU-hours instead of 37 without sharing stages.",
        "308 of 311",
        "1 failed, 2 not finished",
        "A warning of somebody else.",
        "1 of 311 trials failed. Most frequent error: RuntimeError: out of memory on device 0",
        "lotus report cifar10.yaml",
        "of the prunable weights (Linear weights in the blocks)",
        "it makes nothing faster on dense hardware",
        "of every pair of final ISSP masks that differ in one thing only (12 pairs)",
        "against a control, at matching settings: 3",
        "equal within 0.5 points (other seeds)",
    ):
        assert said in text


@pytest.mark.slow
def test_nothing_that_a_user_names_becomes_markup(full: ReportData, tmp_path: Path) -> None:
    path = write_report(hostile(full), tmp_path / "out")
    page = Page(path)
    source = path.read_text()
    assert len([a for t, a in page.tags if t == "script" and "type" not in a]) == 1
    assert all((a.get("src") or "").startswith("data:") for t, a in page.tags if t == "img")
    assert "<script>alert" not in source
    assert "\x1b" not in source
    assert "\x00" not in source
    assert EVIL in page.text
    outside = {p.name for p in tmp_path.iterdir()}
    assert outside == {"out"}


@pytest.mark.parametrize(
    ("text", "page"),
    [
        ("set `a.b=1`, then `run`", "set <code>a.b=1</code>, then <code>run</code>"),
        ("`<b>` & <i>", "<code>&lt;b&gt;</code> &amp; &lt;i&gt;"),
        ("one ` alone", "one ` alone"),
    ],
)
def test_words_between_backticks_are_code_and_all_else_is_escaped(text: str, page: str) -> None:
    assert coded(text) == page


@pytest.mark.parametrize("trials", [pd.DataFrame(), pd.DataFrame({"arm": [], "status": []})])
def test_an_empty_sweep_says_what_to_add(
    empty: ReportData, trials: pd.DataFrame, tmp_path: Path
) -> None:
    page = Page(write_report(replace(empty, trials=trials), tmp_path))
    assert tuple(page.headings) == ALWAYS
    assert not [tag for tag, _ in page.tags if tag in ("img", "table")]
    assert "No trial has finished yet, of 12 trials planned." in page.text
    for key in ("search.sparsity", "search.patch_drop", "finetune.epochs", "search.arm"):
        assert key in page.text
    assert not (tmp_path / "figures").exists()


def test_a_summary_without_entries_still_gives_a_report(empty: ReportData, tmp_path: Path) -> None:
    page = Page(write_report(replace(empty, summary={}), tmp_path))
    assert tuple(page.headings) == ALWAYS
    assert json.loads((tmp_path / "summary.json").read_text()) == {}


def test_a_sweep_of_failed_trials_shows_their_errors(full: ReportData, tmp_path: Path) -> None:
    trials = pd.DataFrame(
        {"name": ["a", "b"], "arm": "lotus", "status": "FAILED", "error": ["no disk", None]}
    )
    summary = make_summary(trials) | {"finetuning": {}}
    data = replace(full, summary=summary, trials=trials, pictures=())
    page = Page(write_report(data, tmp_path))
    assert "no disk" in page.text
    assert "No fine-tuning curve was recorded" in page.text
    assert "No ticket pictures were recorded" in page.text


def test_one_mask_data_fraction_is_no_comparison(full: ReportData, tmp_path: Path) -> None:
    trials = full.trials[full.trials["mask_data_fraction"].isin([0.1])]
    data = replace(full, summary=make_summary(trials), trials=trials)
    page = Page(write_report(data, tmp_path))
    assert "Only one mask data fraction was run" in page.text
    assert not (tmp_path / "figures" / "issp_by_fraction.png").exists()


def test_summary_json_is_strict_and_keeps_its_keys(full: ReportData, written: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    read = json.loads((written / "summary.json").read_text(), parse_constant=refuse)
    assert read == plain(full.summary)
    assert read.keys() == full.summary.keys()
    assert read["cost"]["wall_s"] is None
    assert read["recommended"]["seed"] == 1
    assert read["recommended"]["within_tolerance"] is True


def test_trials_csv_gives_the_frame_back(full: ReportData, written: Path) -> None:
    read = pd.read_csv(written / "trials.csv", float_precision="round_trip", dtype={"key": str})
    numeric = full.trials.select_dtypes("number").columns
    assert list(read.columns) == list(full.trials.columns)
    assert len(numeric) > 15
    np.testing.assert_array_equal(
        read[numeric].to_numpy(float), full.trials[numeric].to_numpy(float)
    )
    for name in ("key", "name", "arm", "status", "issp.merge"):
        assert list(read[name]) == list(full.trials[name])


def test_passwords_reach_no_file(full: ReportData, tmp_path: Path) -> None:
    trials = full.trials.assign(
        error="cannot reach s3://me:hunter2@host/x",
        place="https://host/x?password=hunter2&token=hunter2",
    )
    summary = full.summary | {"warnings": ["postgresql://me:hunter2@hunter2@host/d is away"]}
    command = "lotus report a.yaml --tracking-uri http://me:hunter2@host"
    write_report(replace(full, trials=trials, summary=summary, command=command), tmp_path)
    for path in tmp_path.rglob("*.*"):
        assert b"hunter2" not in path.read_bytes()
    assert "postgresql://lotus:***@db/ml" in (tmp_path / "report.html").read_text()


def test_two_writes_give_the_same_bytes(full: ReportData, written: Path, tmp_path: Path) -> None:
    write_report(full, tmp_path)
    for path in written.rglob("*.*"):
        assert (tmp_path / path.relative_to(written)).read_bytes() == path.read_bytes()


def test_a_second_report_leaves_no_stale_figure(
    full: ReportData, empty: ReportData, tmp_path: Path
) -> None:
    write_report(full, tmp_path)
    (tmp_path / "figures" / "mine.png").write_bytes(b"kept")
    write_report(empty, tmp_path)
    assert [p.name for p in (tmp_path / "figures").iterdir()] == ["mine.png"]


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "by an older version"])
def test_no_figure_of_a_search_outlives_it(
    full: ReportData, empty: ReportData, tmp_path: Path, listed: bool
) -> None:
    point = {"arm": "lotus", "setting": {"sparsity": 0.3, "patch_drop": 0.1}, "n": 2}
    point |= {"val_accuracy_mean": 0.9, "macs_ratio": 0.9, "sparsity_mean": 0.6}
    other = point | {"val_accuracy_mean": 0.8, "macs_ratio": 0.7}
    found = write_report(replace(full, summary=full.summary | {"pareto": [point, other]}), tmp_path)
    assert (tmp_path / "figures/pareto.png").exists(), "else this test proves nothing"
    if not listed:
        (tmp_path / "files.json").unlink()
        (tmp_path / "figures/halving.png").write_bytes(b"of an older report")
        for figure in (tmp_path / "figures").iterdir():  # older reports had fewer
            if figure.stem not in OLDER_FIGURES and not figure.stem.startswith("tickets"):
                figure.unlink()
    assert write_report(empty, tmp_path) == found
    assert list((tmp_path / "figures").iterdir()) == []


def test_whatever_a_report_wrote_goes_with_it_whatever_its_name(
    empty: ReportData, tmp_path: Path
) -> None:
    write_report(empty, tmp_path)
    listed = json.loads((tmp_path / "files.json").read_text())
    listed["files"] += ["figures/of_another_version.png", "more.csv", "../outside", "figures/../x"]
    (tmp_path / "files.json").write_text(json.dumps(listed))
    kept = [tmp_path / "notes.txt", tmp_path.parent / "outside", tmp_path / "x"]
    for path in (tmp_path / "figures/of_another_version.png", tmp_path / "more.csv", *kept):
        path.parent.mkdir(exist_ok=True)
        path.write_text("here")
    write_report(empty, tmp_path)
    assert not (tmp_path / "figures/of_another_version.png").exists()
    assert not (tmp_path / "more.csv").exists()
    assert all(path.exists() for path in kept)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"files": 3}', '{"files": [3, null]}'])
def test_a_damaged_list_costs_no_report(empty: ReportData, tmp_path: Path, content: str) -> None:
    (tmp_path / "files.json").write_text(content)
    assert write_report(empty, tmp_path).exists()
    assert "report.html" in json.loads((tmp_path / "files.json").read_text())["files"]


@pytest.mark.slow
def test_ten_thousand_trials_stay_quick_and_small(full: ReportData, tmp_path: Path) -> None:
    trials = pd.concat([full.trials] * 33, ignore_index=True).iloc[:10_000]
    trials = trials.assign(key=[f"{i:064x}" for i in range(len(trials))])
    started = time.process_time()
    path = write_report(replace(full, trials=trials), tmp_path)
    assert time.process_time() - started < 60
    page = Page(path)
    assert "This page shows 1,000 of 10,000 trials" in page.text
    assert path.stat().st_size < 10_000_000
    assert [tag for tag, _ in page.tags].count("tr") < 2_000
    assert len(pd.read_csv(tmp_path / "trials.csv", usecols=["key"])) == 10_000


def test_a_picture_that_is_no_png_is_left_out(full: ReportData, tmp_path: Path) -> None:
    bad = Picture(title="bad", patch_drop=0.2, png=b"<svg onload=alert(1)>")
    write_report(replace(full, pictures=(bad,)), tmp_path)
    assert not list((tmp_path / "figures").glob("tickets*"))


def test_the_callers_tables_stay_as_they_are(full: ReportData, tmp_path: Path) -> None:
    before = full.trials.copy(deep=True)
    write_report(full, tmp_path)
    pd.testing.assert_frame_equal(full.trials, before)
