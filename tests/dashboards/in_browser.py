"""Pages for the tests that look at them in Chromium. TEST DATA, made up."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from dashboards import ReportData, write_report
from dashboards.data import plain
from dashboards.files import trials_csv
from dashboards.page import render
from tests.dashboards.conftest import SEEDS, make_gallery, make_summary, make_trials, trial

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

RIGHT_TO_LEFT = "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd"


def undrawn(data: ReportData) -> str:
    """A page without figures, which are the same on every page and take seconds."""
    summary = plain(data.summary)
    return render(summary, data, [], [], trials_csv(data.trials))


def thousand() -> pd.DataFrame:
    """1,000 trials of 334 settings, three seeds each but the last: more than are drawn as lines."""
    rng = np.random.default_rng(0)
    grid = product(range(12), range(7), range(4))
    places = [
        {"sparsity": 0.1 + 0.05 * s, "patch_drop": 0.1 * q, "mask_data_fraction": 0.1 + 0.3 * f}
        for s, q, f in grid
    ]
    rows = [trial(rng, "lotus", place, seed) for place in places for seed in SEEDS][:1_000]
    keys = [f"{i:064x}" for i in range(1_000)]
    return pd.DataFrame(rows).assign(run_id=[key[-32:] for key in keys], key=keys, error=None)


def failures() -> pd.DataFrame:
    trials = make_trials()
    trials = trials[trials["arm"].isin(["lotus", "dense", "magnitude"])].copy()
    trials.loc[trials.index[::3], "status"] = "FAILED"
    trials.loc[trials.index[::3], "error"] = "RuntimeError: " + "CUDA_out_of_memory_" * 20
    return trials


def write_pages(full: ReportData, empty: ReportData, folder: Path) -> dict[str, Path]:
    """What a page is of -> its place."""
    from tests.dashboards.test_report import hostile

    trials = make_trials()
    one = trials[trials["arm"] == "lotus"].iloc[:1]
    broken = failures()
    odd = hostile(full)
    odd.trials.loc[odd.trials.index[5], "name"] = RIGHT_TO_LEFT
    made = {
        "one": replace(full, trials=one, summary=make_summary(one, planned=1), pictures=()),
        "failures": replace(full, trials=broken, summary=make_summary(broken), pictures=()),
        "hostile": odd,
        "empty": empty,
    }
    lotus = thousand()
    large = replace(full, trials=lotus, summary=make_summary(lotus), live=True)
    found = {
        "whole": write_report(replace(full, gallery=make_gallery()), folder / "whole"),
        "thousand": write_report(large, folder / "thousand"),
    }
    for name, data in made.items():
        found[name] = folder / f"{name}.html"
        found[name].write_text(undrawn(data), "utf-8", "replace")
    return found
