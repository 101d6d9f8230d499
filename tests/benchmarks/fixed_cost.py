"""What a sweep costs beside its trials: 40 trials of about two seconds, and a bare Ray Tune loop.

    .venv/bin/python tests/benchmarks/fixed_cost.py [--pairs 3] > tests/benchmarks/fixed_cost.json

Both compute the same stages, each unique one once, as whole processes one after the other: from the
start of Python to its end, `lotus run` with store, tracking, report and the best model, the bare
loop (`overhead.py`) with nothing of that. The ratio of a pair is what a user pays. `--profile` says
of one sweep where its time goes. Bound: 1.10.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks import measuring

HERE = Path(__file__)
LOTUS = str(Path(sys.executable).with_name("lotus"))

SWEEP = """\
name: fixed-cost
data: {name: digits, validation: 200}
model:
  name: vit_tiny_patch16_224
  pretrained: false
  kwargs: {img_size: 8, patch_size: 2, in_chans: 1, embed_dim: 64, depth: 4, num_heads: 4}
  mean: [0.3]
  std: [0.38]
dense: {epochs: 3, lr: 3.0e-3, batch_size: 64, warmup_steps: 20, grad_clip: 1.0}
tickets: {weights: adapted}
finetune: {weights: current, epochs: EPOCHS, lr: 5.0e-4, batch_size: 64}
search:
  arm: [essential]
  sparsity: LEVELS
  seed: [0, 1]
"""


def sweep_file(folder: Path, trials: int, epochs: int) -> Path:
    """A sweep of so many trials, each of so many epochs."""
    levels = [round(0.9 * (n + 1) / (trials // 2), 4) for n in range(trials // 2)]
    text = SWEEP.replace("EPOCHS", str(epochs)).replace("LEVELS", json.dumps(levels))
    path = folder / "fixed-cost.yaml"
    path.write_text(text)
    return path


def bare(path: Path, folder: Path) -> dict[str, float]:
    """The stages alone."""
    command = [sys.executable, str(HERE.with_name("overhead.py")), "--bare", "--sweep", str(path)]
    spent = measuring.timed(command, folder)
    return {"wall_s": spent.wall_s, "cpu_s": spent.cpu_s}


def sweep(path: Path, folder: Path) -> dict[str, float]:
    """`lotus run`, and what its MLflow runs say of when it did what."""
    spent = measuring.timed([LOTUS, "run", str(path)], folder)
    return {"wall_s": spent.wall_s, "cpu_s": spent.cpu_s} | phases(path, folder, spent)


def phases(path: Path, folder: Path, spent: measuring.Spent) -> dict[str, float]:
    """Seconds before the first run, from there to the end of the last, and after that."""
    from orchestrator.planning.sweepfile import load_sweep
    from orchestrator.tracking.tracker import Tracker, find_sweep

    uri = f"tracking.uri=sqlite:///{folder}/lotus/mlflow.db"
    address = find_sweep(load_sweep(path, [uri]))
    assert address is not None
    runs = Tracker(address).runs()
    first = min(run.info.start_time for run in runs) / 1000 - spent.began
    last = max(run.info.end_time or 0 for run in runs) / 1000 - spent.began
    found = {"start_s": first, "trials_s": last - first, "end_s": spent.wall_s - last}
    return {name: round(value, 2) for name, value in found.items()}


def main() -> None:
    """Run the pairs and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--trials", type=int, default=40, help="an even number")
    parser.add_argument("--epochs", type=int, default=2, help="of a trial; 2: two seconds")
    parser.add_argument("--profile", action="store_true", help="one sweep and no bare loop")
    options = parser.parse_args()
    found: dict[str, Any] = measuring.about()
    found |= {"trials": options.trials, "epochs": options.epochs, "pairs": []}
    for _ in range(1 if options.profile else options.pairs):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            path = sweep_file(Path(one), options.trials, options.epochs)
            pair: dict[str, Any] = {}
            if not options.profile:
                pair["bare"] = bare(path, Path(other))
            pair["lotus"] = sweep(path, Path(one))
        if not options.profile:
            pair["ratio"] = round(pair["lotus"]["wall_s"] / pair["bare"]["wall_s"], 4)
            pair["ratio_cpu"] = round(pair["lotus"]["cpu_s"] / pair["bare"]["cpu_s"], 4)
        found["pairs"].append(pair)
        print(json.dumps(pair), file=sys.stderr, flush=True)
    if not options.profile:
        found["ratio"] = measuring.spread([pair["ratio"] for pair in found["pairs"]])
        found["ratio_cpu"] = measuring.spread([pair["ratio_cpu"] for pair in found["pairs"]])
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
