"""What 10,000 trials cost when their stages cost nothing: plan, run, driver's memory, report.

    .venv/bin/python tests/benchmarks/bookkeeping.py > tests/benchmarks/bookkeeping.json

The stages give results at hand (`empty/sitecustomize.py`); graph, keys, store, queue, Ray Tune,
MLflow's runs (SQLite), artifacts and the report are what every sweep has. Beside it runs a bare
Ray Tune loop of as many trials that do nothing, with reused actors and without tracking. Bounds:
`lotus plan` 5 s and 500 MB; the run's time per trial 1.2 times the bare loop's; the driver 1 GB;
the report 60 s.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
HERE = Path(__file__)
sys.path.insert(0, str(ROOT))

SWEEP = """\
name: bookkeeping
data: {name: digits, train_images: 40, validation: 40}
model:
  name: vit_tiny_patch16_224
  pretrained: false
  kwargs: {img_size: 8, patch_size: 2, in_chans: 1, embed_dim: 16, depth: 1, num_heads: 2}
  mean: [0.3]
  std: [0.38]
dense: {epochs: 1, lr: 1.0e-3, batch_size: 40}
tickets: {weights: adapted}
issp: {target_sparsity: 0.95}
finetune: {weights: current, epochs: 1, lr: 1.0e-3, batch_size: 40}
"""

DROPS = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
FRACTIONS = [0.1, 0.3, 0.5, 0.7, 1.0]


def sweep_file(folder: Path, trials: int) -> Path:
    """A sweep of so many trials, a multiple of 400: levels, drops, fractions, and ten seeds."""
    levels = [round(0.9 * (i + 1) / (trials // 400), 6) for i in range(trials // 400)]
    search = {
        "arm": ["lotus"],
        "sparsity": levels,
        "patch_drop": DROPS,
        "mask_data_fraction": FRACTIONS,
        "seed": list(range(10)),
    }
    path = folder / "bookkeeping.yaml"
    path.write_text(
        f"{SWEEP}search: {json.dumps(search)}\n"
        f"storage: {{path: {folder}/store}}\n"
        f"tracking: {{uri: 'sqlite:///{folder}/mlflow.db'}}\n"
    )
    return path


def write_results(path: Path, folder: Path) -> None:
    """One real trial's results, for `empty/sitecustomize.py`."""
    from orchestrator import codec
    from orchestrator.planning import plan
    from orchestrator.sweepfile import load_sweep
    from trials.context import Context
    from trials.execute import Direct
    from trials.stage import closure

    one = ["search.sparsity=[0.3]", "search.patch_drop=[0.1]", "search.seed=[0]"]
    planned = plan(load_sweep(path, [*one, "search.mask_data_fraction=[0.1]"]))
    (trial,) = planned.trials
    direct = Direct(planned.sources_of(trial.config).objects(), Context())
    folder.mkdir()
    for node in closure(trial.graph.final):
        content = codec.encode(direct.get(node))
        (folder / f"{node.stage.name}.safetensors").write_bytes(content)


def measured(command: list[str], log: Path, **environment: str) -> dict[str, float]:
    """Run a process: wall seconds, its own CPU seconds, and its largest memory.

    `mib` is what belongs to it alone and `rss_mib` counts the pages of its libraries as well.
    """
    found = {"rss_mib": 0.0, "mib": 0.0}
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment
    start = time.perf_counter()
    with log.open("w") as out:
        process = psutil.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT)
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            for name, kind in (("rss_mib", "VmRSS"), ("mib", "RssAnon")):
                kept = status.partition(f"{kind}:")[2].split()
                found[name] = max(found[name], int(kept[0]) / 1024 if kept else 0.0)
            time.sleep(0.2)
    if process.returncode != 0:
        raise RuntimeError(log.read_text()[-3000:])
    found["wall_s"] = time.perf_counter() - start
    return {name: round(value, 2) for name, value in found.items()}
