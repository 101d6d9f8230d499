"""What Prometheus sees of a sweep on a real Ray with token authentication: its own numbers."""

import json
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
from programs import ROOT, Program, environment, free_port, ray_start
from test_nodes import end, processes_with

from orchestrator import metrics
from orchestrator.driver import measuring
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.sweepfile import load_sweep
from orchestrator.tracking.tracker import Tracker, find_sweep

pytestmark = pytest.mark.slow

SWEEP = """\
search: {arm: [essential, lotus], sparsity: [0.3], patch_drop: [0.25], mask_data_fraction: [0.5]}
experiment: measured
"""

BOARD = ROOT / "dashboards/grafana/dashboards/lotus.json"

NOTHING_TO_SHOW = {
    "Attempts tried again",
    "Errors",
    "Errors and calls made again",
    "GPU",
    "GPU memory",
}
"""Panels that are empty while all is well and there is no GPU."""

Line = tuple[str, dict[str, str], float]


def parsed(text: str) -> Iterator[Line]:
    """Ours of what an export port shows: name, labels, value."""
    for line in text.splitlines():
        if found := re.fullmatch(r"(ray_lotus\w+)\{(.*)\} (\S+)", line):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', found[2]))
            yield found[1], labels, float(found[3])


@dataclass
class Seen:
    """What was scraped while a sweep ran, and where the sweep is.

    Attributes:
        highest: name and own labels -> the most that all processes together had at once.
        last: the lines of the last scrape.
        panels: title -> number of series, from a real Prometheus; None where there is none.
    """

    path: Path
    said: str
    highest: dict[tuple[str, ...], float]
    last: list[Line]
    panels: dict[str, int] | None

    def total(self, name: str, **labels: str) -> float:
        """The sum of a counter over all processes."""
        return sum(v for n, own, v in self.last if n == name and labels.items() <= own.items())


def summed(lines: list[Line], by: tuple[str, ...]) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = defaultdict(float)
    for name, labels, value in lines:
        found[(name, *(labels[one] for one in by if one in labels))] += value
    return found


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, tiny_text: str) -> Iterator[Seen]:
    """A sweep of two trials on a cluster that is watched."""
    folder = tmp_path_factory.mktemp("measured")
    path = folder / "sweep.yaml"
    places = f"storage: {{path: {folder}/store}}\ntracking: {{uri: 'sqlite:///{folder}/m.db'}}\n"
    path.write_text(tiny_text + SWEEP + places, encoding="utf-8")
    temporary = Path(tempfile.mkdtemp(prefix="lr", dir="/tmp"))  # paths of sockets must be short
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    mark = f"measured {folder}"
    port, shown = free_port(), free_port()
    env = environment(LOTUS_TEST_NODE=mark, RAY_metrics_report_interval_ms="3000", **token)
    try:
        ray_start(
            "--head",
            "--num-cpus=2",
            f"--port={port}",
            "--node-ip-address=127.0.0.2",
            f"--metrics-export-port={shown}",
            f"--dashboard-port={free_port()}",
            f"--temp-dir={temporary}",
            env=env,
        )
        with watched_by_prometheus(folder, temporary) as panels:
            yield watch(path, f"127.0.0.2:{port}", shown, token, panels)
    finally:
        Program.end_all()
        end(processes_with(LOTUS_TEST_NODE=mark))
        shutil.rmtree(temporary, ignore_errors=True)


def watch(
    path: Path, address: str, port: int, token: dict[str, str], panels: Callable[[], Any]
) -> Seen:
    """Run the sweep and scrape until it has ended and everything has arrived."""
    highest: dict[tuple[str, ...], float] = defaultdict(float)
    lines: list[Line] = []

    def scrape() -> None:
        nonlocal lines
        try:
            answer = requests.get(f"http://127.0.0.2:{port}/metrics", timeout=30)
        except requests.RequestException:  # busy: the next one will do
            return
        lines = list(parsed(answer.text))
        for at, value in summed(lines, ("state",)).items():
            highest[at] = max(highest[at], value)

    env = environment(**token)
    program = Program.start(
        path.parent / "log", "run", str(path), "--no-report", "--address", address, env=env
    )
    while program.process.poll() is None:
        scrape()
        time.sleep(0.5)
    assert program.process.returncode == 0, program.said
    # Ray forgets gauges after two of its intervals, and a process tells its counts once in one.
    start, runs = time.monotonic(), len(runs_of(path))
    while time.monotonic() < start + 120:
        time.sleep(0.5)
        scrape()
        names = Counter[str]()
        for name, _, value in lines:
            names[name] += int(value)
        told = "ray_lotus_trials" not in names and names["ray_lotus_attempts_total"] == runs
        if told and time.monotonic() > start + 7:
            break
    return Seen(path, program.said, dict(highest), lines, panels())


class watched_by_prometheus:  # noqa: N801, it is used like a function
    """A Prometheus with our rules beside a Ray; gives what asks it every panel's queries."""

    def __init__(self, folder: Path, temporary: Path) -> None:
        self.folder, self.process, self.start = folder, None, time.time()
        config = yaml.safe_load((ROOT / "dashboards/prometheus/prometheus.yml").read_text())
        (job,) = config["scrape_configs"]
        (found,) = job["file_sd_configs"]
        found["files"] = [found["files"][0].replace("/tmp/ray", str(temporary))]
        found["refresh_interval"] = "1s"
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(ROOT / "dashboards/prometheus/alerts.yml")]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")

    def __enter__(self) -> Callable[[], dict[str, int] | None]:
        program = shutil.which("prometheus")
        if program is None:
            return lambda: None
        self.url = f"http://127.0.0.1:{free_port()}"
        command = [
            program,
            f"--config.file={self.folder}/prometheus.yml",
            f"--storage.tsdb.path={self.folder}/tsdb",
            f"--web.listen-address={self.url.removeprefix('http://')}",
        ]
        with (self.folder / "prometheus.log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        return self.ask

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def ask(self) -> dict[str, int]:
        """Title of each panel -> how many series its queries give over the sweep's time."""
        found: Counter[str] = Counter()
        for panel in json.loads(BOARD.read_text("utf-8"))["panels"]:
            for target in panel.get("targets", []):
                expr = target["expr"].replace("$__rate_interval", "60s")
                expr = expr.replace("$sweep", ".*").replace("$node", ".*")
                times = {"start": self.start, "end": time.time(), "step": 1}
                answer = requests.get(
                    f"{self.url}/api/v1/query_range", {"query": expr, **times}, timeout=30
                ).json()
                assert answer["status"] == "success", (panel["title"], answer)
                series = answer["data"]["result"]
                # Ray may tell all calls at once. Then their rate is 0, and a percentile of it NaN.
                told = "histogram_quantile" in expr
                shown = [one for one in series if told or any(v != "NaN" for _, v in one["values"])]
                found[panel["title"]] += len(shown)
        return found


def runs_of(path: Path) -> list[Any]:
    """What MLflow has of the sweep."""
    address = find_sweep(load_sweep(path))
    assert address is not None
    return Tracker(address).runs()


def test_the_numbers_are_those_of_the_sweep(seen: Seen) -> None:
    runs = runs_of(seen.path)
    kinds = Counter(run.data.tags["lotus.kind"] for run in runs)
    assert kinds["trial"] == 2
    for kind, number in kinds.items():
        assert seen.total("ray_lotus_attempts_total", kind=kind, outcome="finished") == number
    trials = [run.data.metrics for run in runs if run.data.tags["lotus.kind"] == "trial"]
    hits, saved = (sum(one[f"cache/{name}"] for one in trials) for name in ("hits", "saved_s"))
    assert seen.total("ray_lotus_cache_hits_total") == hits > 0
    assert seen.total("ray_lotus_cache_saved_seconds_total") == pytest.approx(saved)
    assert seen.total("ray_lotus_mlflow_seconds_count", call="create") == len(runs)


def test_stages_are_those_that_the_store_has(seen: Seen) -> None:
    from orchestrator.storage.store import Store

    entries = Store(load_sweep(seen.path).storage.path).entries()
    for stage, number in Counter(entry.stage for entry in entries).items():
        assert seen.total("ray_lotus_stage_seconds_count", stage=stage) == number, stage
    spent = sum(entry.seconds for entry in entries)
    assert seen.total("ray_lotus_stage_busy_seconds_total") == pytest.approx(spent)
    written = sum(entry.bytes for entry in entries)
    assert seen.total("ray_lotus_store_bytes_total", operation="write") >= written


def test_states_and_slots_were_seen_and_vanish_with_the_driver(seen: Seen) -> None:

    # How much of the beginning is seen depends on how soon Ray's own exporter is up.
    assert seen.highest["ray_lotus_trials", "waiting"] <= 2
    assert seen.highest["ray_lotus_trials", "finished"] == 2
    assert seen.highest["ray_lotus_trials", "failed"] == 0
    assert seen.highest["ray_lotus_shared_stages", "running"] <= 2
    assert seen.highest["ray_lotus_shared_stages", "finished"] == 3
    assert seen.highest["ray_lotus_trials_planned",] == 2
    assert seen.highest["ray_lotus_slots",] == 2
    assert seen.highest["ray_lotus_pending_deliveries",] == 0
    assert seen.highest["ray_lotus_outbox_calls",] >= 0
    assert not [name for name, _, _ in seen.last if name == "ray_lotus_trials"]


def test_labels_have_the_sweeps_name_and_never_a_key(seen: Seen) -> None:
    assert {labels["sweep"] for _, labels, _ in seen.last} == {"measured/tiny"}
    ours = {one for metric in metrics.METRICS.values() for one in metric.labels}
    values = {labels[name] for _, labels, _ in seen.last for name in ours & labels.keys()}
    assert not [value for value in values if re.search(r"[0-9a-f]{8}", value)]
    assert len(values) < 60


def test_every_panel_of_the_dashboard_shows_something(seen: Seen) -> None:
    if seen.panels is None:
        pytest.skip("no prometheus here: `apt-get install prometheus`")
    assert {title for title, number in seen.panels.items() if number == 0} <= NOTHING_TO_SHOW
    assert len(seen.panels) > 30


def test_measuring_says_nothing_to_people(seen: Seen) -> None:
    assert "metric" not in seen.said.lower()
    assert "Traceback" not in seen.said


@pytest.mark.parametrize("address", [None, "local"])
def test_a_run_on_this_machine_alone_measures_nothing(
    address: str | None, tiny: Callable[..., SweepConfig]
) -> None:
    from orchestrator.worker import exporter

    before = set(threading.enumerate())
    assert measuring.measured_as(tiny(), address) is None
    with exporter.exporting(None, lambda: pytest.fail("nobody samples")):
        metrics.put(metrics.SLOTS, 1)
        assert set(threading.enumerate()) <= before


def test_two_sweeps_of_one_name_are_told_apart(tiny: Callable[..., SweepConfig]) -> None:
    assert measuring.measured_as(tiny(), "auto") == "tiny"
    assert measuring.measured_as(tiny("experiment: other\n"), "auto") == "other/tiny"


def test_a_store_that_is_away_does_not_end_the_sampling() -> None:
    from orchestrator.worker import exporter
    from trials.errors import LotusError

    asked = threading.Event()

    def sample() -> None:
        asked.set()
        raise LotusError("away")

    with exporter.exporting("x", sample):
        assert asked.wait(10)
