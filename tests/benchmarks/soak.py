"""A soak: does a sweep of 2,000 small trials stay as fast and as small as it began? Half an hour.

    .venv/bin/python tests/benchmarks/soak.py [--trials 2000] [--epochs 26] \
        > tests/benchmarks/soak.json

The driver's memory is sampled every two seconds; when each trial ended is read from MLflow. After
the first 200 trials both must be flat within 10 %: memory, and seconds per trial.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))

from orchestrator.planning.sweepfile import load_sweep
from orchestrator.reading.tables import results
from orchestrator.tracking.tracker import Tracker, find_sweep
from orchestrator.versions import hardware, versions

ROOT = Path(__file__).parents[2]
WARM_UP = 200
SEEDS = 20

SWEEP = """\
name: soak
data: {name: digits, train_images: 1000, validation: 40}
model:
  name: vit_tiny_patch16_224
  pretrained: false
  kwargs: {img_size: 8, patch_size: 2, in_chans: 1, embed_dim: 16, depth: 1, num_heads: 2}
  mean: [0.3]
  std: [0.38]
dense: {epochs: 1, lr: 1.0e-3, batch_size: 40}
tickets: {weights: adapted}
finetune: {weights: current, epochs: EPOCHS, lr: 1.0e-3, batch_size: 40}
"""


def sweep_file(folder: Path, trials: int, epochs: int) -> Path:
    """A sweep of so many trials: one-shot levels times seeds."""
    levels = [round(0.9 * (i + 1) / (trials // SEEDS), 6) for i in range(trials // SEEDS)]
    search = {"arm": ["essential"], "sparsity": levels, "seed": list(range(SEEDS))}
    path = folder / "soak.yaml"
    path.write_text(
        f"{SWEEP.replace('EPOCHS', str(epochs))}search: {json.dumps(search)}\n"
        f"storage: {{path: {folder}/store}}\n"
        f"tracking: {{uri: 'sqlite:///{folder}/mlflow.db'}}\n"
    )
    return path


def watched(path: Path) -> tuple[float, list[tuple[float, int]]]:
    """Run the sweep: wall seconds, and samples of (unix time, the driver's bytes)."""
    command = [sys.executable, "-m", "orchestrator.cli", "run", str(path), "--no-report"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    start, samples = time.monotonic(), []
    with (path.parent / "driver.log").open("w") as log:
        driver = psutil.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        while driver.poll() is None:
            try:
                samples.append((time.time(), driver.memory_info().rss))
            except psutil.Error:
                break
            time.sleep(2)
    if driver.wait() != 0:
        raise RuntimeError((path.parent / "driver.log").read_text()[-3000:])
    return time.monotonic() - start, samples


def ends(path: Path) -> list[float]:
    """Unix times at which trials ended, ascending."""
    address = find_sweep(load_sweep(path))
    assert address is not None
    runs = Tracker(address).runs()
    return sorted(
        ended / 1000
        for run in runs
        if (ended := run.info.end_time) and run.data.tags["lotus.kind"] == "trial"
    )


def windows(times: Sequence[float]) -> list[float]:
    """Seconds per trial in consecutive windows of WARM_UP trials."""
    marks = times[::WARM_UP]
    return [round((b - a) / WARM_UP, 4) for a, b in pairwise(marks)]


def main() -> None:
    """Run and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=26, help="of each: how long it all takes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = sweep_file(Path(folder), options.trials, options.epochs)
        wall_s, samples = watched(path)
        times, table = ends(path), results(load_sweep(path))
    warm = [size for at, size in samples if times[WARM_UP] <= at <= times[-1]]
    tenth = max(1, len(warm) // 10)
    memory = [statistics.median(part) / 2**20 for part in (warm[:tenth], warm[-tenth:])]
    pace = windows(times)[1:]
    half = len(pace) // 2
    found: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "command": shlex.join(sys.argv),
        "hardware": hardware(),
        "versions": versions(),
        "trials_finished": int((table["status"] == "FINISHED").sum()),
        "wall_s": round(wall_s, 1),
        "driver_mib_after_200": round(memory[0], 1),
        "driver_mib_at_the_end": round(memory[1], 1),
        "driver_growth": round(memory[1] / memory[0] - 1, 4),
        "s_per_trial_windows_of_200": pace,
        "pace_change": round(
            statistics.median(pace[half:]) / statistics.median(pace[:half]) - 1, 4
        ),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
