"""Every number of the first screen, recomputed from what MLflow has, and the same on each screen.

The recommended setting is not the best by validation.
"""

import html
import json
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from orchestrator.cli import cli
from orchestrator.commands import console
from orchestrator.commands.export import export
from orchestrator.planning.sweepfile import load_sweep
from orchestrator.reading import report
from tests.orchestrator.reading.first_screen import (
    CHOOSING,
    KEPT,
    LEVELS,
    ONE_SHOT_LOST,
    Gap,
    N,
    Raw,
    gap,
    write_sweep,
)

BEST = ("lotus", 0.6)
ALL = {"dense", "lotus", "random_mask"}
WORLDS = {
    "two seeds": ((0, 1), ALL),
    "three seeds": ((0, 1, 2), ALL),
    "five seeds": ((0, 1, 2, 3, 4), ALL),
    "no dense arm": ((0, 1, 2), ALL - {"dense"}),
}


@dataclass(frozen=True)
class Screens:
    """One sweep as MLflow has it, and everything that a person is shown of it."""

    raw: Raw
    seeds: tuple[int, ...]
    tuned: bool
    page: str
    summary: dict[str, Any]
    terminal: dict[str, str]
    selected: str
    selection: dict[str, Any]
    exported: dict[str, Any]
    folder: Path

    @property
    def recommended(self) -> dict[int, Any]:
        return self.raw.setting(*BEST)

    @property
    def dense(self) -> dict[int, Any]:
        """The models that it is compared with, by seed."""
        return self.raw.setting("dense", None) if self.tuned else self.recommended

    def by_hand(self) -> Gap:
        """The difference on test and its intervals."""
        theirs = "deployed.test" if self.tuned else "dense.test"
        bits = [
            [self.raw.right(runs[seed], name, self.folder) for seed in self.seeds]
            for runs, name in ((self.recommended, "deployed.test"), (self.dense, theirs))
        ]
        accuracies: dict[Any, list[float]] = {}
        places = {(run.data.params["arm"], run.data.params.get("sparsity"))
                  for run in self.raw.trials}  # fmt: skip
        for arm, level in sorted(places, key=str):
            runs = self.raw.setting(arm, None if level is None else float(level))
            accuracies[arm, level] = [
                runs[seed].data.metrics["final/deployed_test_accuracy"] for seed in self.seeds
            ]
        of = (("lotus", str(BEST[1])), ("dense", None)) if self.tuned else None
        return gap(*bits, accuracies, of)


@pytest.fixture(scope="module", params=WORLDS, ids=lambda name: name.replace(" ", "-"))
def screens(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    database: str,
    tiny_text: str,
) -> Screens:
    seeds, arms = WORLDS[request.param]
    folder = tmp_path_factory.mktemp("screens")
    path, experiment = folder / "sweep.yaml", f"e-{uuid.uuid4().hex}"
    path.write_text(
        f"{tiny_text}storage: {{path: {folder}/store}}\ntracking: {{uri: '{database}'}}\n"
        f"experiment: {experiment}\n",
        encoding="utf-8",
    )
    sweep = load_sweep(path)
    write_sweep(sweep, seeds, arms, folder / "written")
    page = report.report(sweep)
    raw = Raw.of(database, experiment, sweep.name)
    copy = raw.client.download_artifacts(raw.parent.info.run_id, "report", str(folder))
    assert (Path(copy) / "report.html").read_bytes() == page.read_bytes()
    summary = json.loads((Path(copy) / "summary.json").read_text())
    selected = CliRunner().invoke(cli, ["select", str(path)], catch_exceptions=False)
    plain = CliRunner().invoke(cli, ["select", str(path), "--json"], catch_exceptions=False)
    assert (selected.exit_code, plain.exit_code) == (0, 0)
    export(sweep, folder / "model")
    return Screens(
        raw=raw,
        seeds=seeds,
        tuned="dense" in arms,
        page=re.sub(
            r"<[^>]+>", "\n", html.unescape(page.read_text("utf-8")).replace("\u00a0", " ")
        ),
        summary=summary,
        terminal={name.strip(): text for name, text in console.answer_rows(summary)},
        selected=selected.output,
        selection=json.loads(plain.output),
        exported=json.loads((folder / "model/lotus.json").read_text()),
        folder=folder,
    )


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def limits(found: tuple[float, float] | None, otherwise: str) -> str:
    """With a second digit where an end is not 0 but would be read as 0."""
    if found is None:
        return otherwise
    digits = 2 if any(0.005 <= abs(100 * end) < 0.05 for end in found) else 1
    return " to ".join(f"{100 * end:+z.{digits}f}" for end in found)


def mean(s: Screens, metric: str) -> float:
    return s.raw.mean(s.recommended, metric)


def cards(s: Screens) -> dict[str, tuple[str, str]]:
    """Label -> value and note, as they stand on the page."""
    lines = [line.strip() for line in s.page.replace("\u00a0", " ").splitlines()]
    told = [line for line in lines if line]
    told = told[told.index("The recommended setting in numbers") :]  # below the contents
    labels = ("Essential sparsity", "Test accuracy", "Difference to dense", "Final sparsity",
              "MACs per image, relative to dense", "Cost", "Trials finished")  # fmt: skip
    return {name: (told[told.index(name) + 1], told[told.index(name) + 2]) for name in labels}


def test_the_recommended_setting_is_not_the_best_by_validation(screens: Screens) -> None:
    by_val = {
        level: screens.raw.mean(screens.raw.setting("lotus", level), "final/deployed_val_accuracy")
        for level in LEVELS
    }
    assert max(by_val, key=lambda level: by_val[level]) != BEST[1]
    best = screens.summary["recommended"]
    assert (best["arm"], best["sparsity"]) == BEST
    assert (best["patch_drop"], best["mask_data_fraction"]) == (0.25, 0.5)


def test_the_accuracies_the_difference_and_both_intervals_are_those_of_the_outcomes(
    screens: Screens,
) -> None:
    found, best, n = screens.by_hand(), screens.summary["recommended"], len(screens.seeds)
    own = mean(screens, "final/deployed_test_accuracy")
    column = "final/deployed_test_accuracy" if screens.tuned else "dense/test_accuracy"
    dense = screens.raw.mean(screens.dense, column)
    assert found.mean == pytest.approx(own - dense, abs=1e-12)
    for name, value in (
        ("test_accuracy", own),
        ("dense_test_accuracy", dense),
        ("difference", found.mean),
        ("models_low", found.models[0]),
        ("models_high", found.models[1]),
        ("val_accuracy", mean(screens, "final/deployed_val_accuracy")),
        ("test_accuracy_whole", mean(screens, "final/test_accuracy")),
    ):
        assert best[name] == pytest.approx(value, abs=1e-12), name
    if found.seeds is None:
        assert (best["seeds_low"], best["seeds_high"]) == (None, None)
    else:
        assert [best["seeds_low"], best["seeds_high"]] == pytest.approx(found.seeds, abs=1e-9)
        assert found.seeds[0] <= found.models[0] < found.mean < found.models[1] <= found.seeds[1]
    scope = "these models" if found.seeds is None else "other seeds"
    low, high = found.seeds or found.models
    verdict = "shown" if low >= -0.01 else "exceeded" if high < -0.01 else "not shown"
    assert (best["scope"], best["verdict"], best["n"]) == (scope, verdict, n)
    source = "dense with equal fine-tuning" if screens.tuned else "dense before fine-tuning"
    side = "loses" if found.mean < 0 else "gains"
    few = f"unknown (n = {n})"
    assert screens.summary["answer"]["costs"].startswith(
        f"It {side} {abs(100 * found.mean):.1f} points on test: {percent(own)} against "
        f"{percent(dense)} for {source} (mean of {n} seeds). 95 % intervals: these models "
        f"{limits(found.models, '')}; other seeds {limits(found.seeds, few)}. "
    )
    shown = {"shown": "Shown to be within 1 point", "not shown": "Not shown to be within 1 point",
             "exceeded": "Shown to lose more than 1 point"}[verdict]  # fmt: skip
    assert f". {shown}" in screens.summary["answer"]["costs"]
    told = cards(screens)
    assert told["Test accuracy"][0] == percent(own)
    assert told["Test accuracy"][1].endswith(f": {percent(dense)}.")
    assert f"Mean over {n} seeds" in told["Test accuracy"][1]
    minus = f"{100 * found.mean:+.1f} points".replace("-", "−")
    assert told["Difference to dense"][0] == minus
    note = re.sub(r"(?<= )0\.0(0?)\b", r"+0.0\1", told["Difference to dense"][1].replace("−", "-"))
    assert f"these models {limits(found.models, '')}; " in note
    assert f"other seeds {limits(found.seeds, few)}. {shown} ({scope})." in note


def test_savings_are_those_of_the_recommended_setting(screens: Screens) -> None:
    best = screens.summary["recommended"]
    sparsity, dense = mean(screens, "final/sparsity"), mean(screens, "final/macs_dense")
    kept = mean(screens, "final/macs") / dense
    whole = mean(screens, "final/macs_deployed") / dense
    speed = mean(screens, "profile/images_per_s") / mean(screens, "profile/images_per_s_dense")
    assert (kept, whole) == pytest.approx((KEPT, KEPT + CHOOSING))
    for name, value in (
        ("final_sparsity", sparsity),
        ("macs_ratio", whole),
        ("macs_ratio_kept", kept),
        ("images_per_s_ratio", speed),
    ):
        assert best[name] == pytest.approx(value, abs=1e-12), name
    assert screens.summary["answer"]["saves"] == (
        f"On the patches that it keeps it needs {kept:.2f}× the multiply-accumulates (MACs) of "
        f"dense, and does {speed:.2f}× as many images/s (measured). Choosing the patches costs "
        f"another {whole - kept:.2f}×: {whole:.2f}× in all, unless they are known beforehand. "
        f"{100 * sparsity:g} % of the prunable weights are zero, which by itself speeds nothing up."
    )
    assert screens.summary["answer"]["recommended"].endswith(
        f"LOTUS (one-shot level {100 * BEST[1]:g} %, final sparsity {100 * sparsity:g} %, 25 % of "
        "the patches dropped, masks from 50 % of the data)."
    )
    told = cards(screens)
    assert told["Final sparsity"][0] == percent(sparsity)
    assert told["Final sparsity"][1].endswith(f"One-shot level: {100 * BEST[1]:g} %.")
    assert told["MACs per image, relative to dense"] == (
        f"{whole:.2f}×",
        f"{kept:.2f}× on the kept patches alone, measured at {speed:.2f}× the images/s; the rest "
        "chooses the patches.",
    )


def test_the_essential_sparsity_is_read_off_the_one_shot_losses(screens: Screens) -> None:
    losses = {}
    for level in LEVELS:
        metrics = [run.data.metrics for run in screens.raw.setting("lotus", level).values()]
        lost = [m["essential/val_lost"] - m["essential/val_gained"] for m in metrics]
        losses[level] = float(np.mean(lost)) / N
        assert losses[level] == pytest.approx(ONE_SHOT_LOST[level] / N, abs=4 / N)
    value = max(level for level in LEVELS if losses[level] <= 0.01)
    beyond = min(level for level in LEVELS if level > value)
    found = screens.summary["essential_sparsity"]
    assert (found["value"], found["bracket"]) == (value, [value, beyond])
    assert 0 < found["low"] <= value <= found["high"] <= beyond
    assert {p["sparsity"]: p["drop"] for p in found["curve"] if p["sparsity"]} == pytest.approx(
        losses
    )
    scope = "these models" if len(screens.seeds) < 3 else "other seeds"
    low, high = (f"{round(100 * found[end], 1):g} %" for end in ("low", "high"))
    assert screens.summary["answer"]["essential"] == (
        f"The essential sparsity is {100 * value:g} %: that much of the prunable weights can be "
        "removed in one shot for a loss of at most 1 point, before fine-tuning; at "
        f"{100 * beyond:g} % the loss is {100 * losses[beyond]:.1f} points. For {scope}, it lies "
        f"between {low} and {high} with 95 % confidence."
    )
    told = cards(screens)["Essential sparsity"]
    assert told[0] == f"{100 * value:g} %"
    assert told[1].startswith(f"95 % interval, {scope}: {low} to {high}.")


def test_trials_and_cost_are_counted_from_the_runs(screens: Screens) -> None:
    raw, count = screens.raw, len(screens.raw.trials)
    trials = [run.data.metrics for run in raw.trials]
    stages = sum(run.data.metrics["time/dense_s"] for run in raw.stages)
    used = stages + sum(m["time/total_s"] - m["cache/saved_s"] for m in trials)
    alone = sum(m["time/total_s"] for m in trials)
    cost = screens.summary["cost"]
    assert cost["device_hours"] == pytest.approx(used / 3600)
    assert cost["device_hours_saved"] == pytest.approx(max(0.0, alone - used) / 3600)
    told = cards(screens)
    assert told["Trials finished"] == (
        f"{count} of {count + 1}", "0 failed, 1 not finished.",
    )  # fmt: skip
    words = console.trials_words(screens.summary["trials"])
    assert words == f"{count} of {count + 1} trials finished"
    size, unit = (used / 60, "minutes") if used < 3600 else (used / 3600, "hours")
    shown = f"{size:.1f}" if size < 9.95 else f"{size:.0f}"
    assert told["Cost"][0] == f"{shown} CPU-{unit}"


def test_the_model_named_is_the_median_seed_on_validation_on_every_screen(
    screens: Screens,
) -> None:
    ordered = sorted(
        screens.recommended.values(),
        key=lambda run: (run.data.metrics["final/deployed_val_accuracy"],
                         int(run.data.params["seed"])),
    )  # fmt: skip
    median = ordered[(len(ordered) - 1) // 2]
    name, key = median.info.run_name, median.data.tags["lotus.key"]
    best = screens.summary["recommended"]
    assert (best["name"], best["trial_key"]) == (name, key)
    assert (screens.exported["trial"], screens.exported["key"]) == (name, key)
    assert screens.exported["mlflow_run"] == median.info.run_id
    assert screens.selection["recommended"]["trial_key"] == key
    said = f"{name}, the median of its {len(ordered)} seeds on validation"
    assert f"Its model: {said}." in screens.selected
    assert f"`{name}`" in screens.raw.parent.data.tags["mlflow.note.content"]


def test_every_screen_says_the_same_sentences(screens: Screens) -> None:
    answer = screens.summary["answer"]
    assert screens.selection["answer"] == answer
    assert list(answer) == ["essential", "recommended", "saves", "costs", "surer"]
    note = screens.raw.parent.data.tags["mlflow.note.content"]
    for sentence in answer.values():
        assert sentence.replace(" -", " −") in screens.page, "a minus is a minus on the page"
        assert sentence in screens.selected.splitlines()
        assert sentence in note
    assert screens.summary["recommended"]["reason"] in screens.page
    assert screens.summary["recommended"]["reason"] in screens.selected


def numbers(text: str) -> set[str]:
    """The numbers of a text."""
    return set(re.findall(r"\d+(?:\.\d+)?", text.replace(",", "")))


def test_the_end_screen_has_the_sentences_numbers_and_no_other(screens: Screens) -> None:
    answer, told = screens.summary["answer"], screens.terminal
    assert list(told) == ["Found", "Use", "Saves", "Costs"]
    assert told["Use"] == answer["recommended"]
    for name, sentence in (("Found", "essential"), ("Saves", "saves"), ("Costs", "costs")):
        assert numbers(told[name]) <= numbers(answer[sentence])
        assert len(told[name]) < len(answer[sentence])
    best = screens.summary["recommended"]
    assert f"{best['macs_ratio']:.2f}× the MACs of dense" in told["Saves"]
    assert f"{best['images_per_s_ratio']:.2f}× the images/s" in told["Saves"]
    assert f"{abs(100 * best['difference']):.1f} points less than dense on test" in told["Costs"]
    assert ("other seeds" in told["Costs"]) == (len(screens.seeds) > 2)


def test_the_sweeps_own_run_and_select_have_the_summarys_numbers(screens: Screens) -> None:
    metrics, best = screens.raw.parent.data.metrics, screens.summary["recommended"]
    essential = screens.summary["essential_sparsity"]
    for metric, value in (
        ("essential_sparsity", essential["value"]),
        ("essential_sparsity_low", essential["low"]),
        ("essential_sparsity_high", essential["high"]),
        ("best/val_accuracy", best["val_accuracy"]),
        ("best/test_accuracy", best["test_accuracy"]),
        ("best/dense_test_accuracy", best["dense_test_accuracy"]),
        ("best/difference", best["difference"]),
        ("best/macs_ratio", best["macs_ratio"]),
        ("trials/finished", len(screens.raw.trials)),
        ("trials/failed", 0),
        ("cost/device_hours", screens.summary["cost"]["device_hours"]),
    ):
        assert metrics[metric] == pytest.approx(value, abs=1e-12), metric
    assert screens.selection["recommended"] == best
    for name, value in screens.selection["essential_sparsity"].items():
        if name in essential:
            assert essential[name] == value, name
