"""What sharing saves: the stages of a LOTUS grid, each once, against every trial on its own.

    .venv/bin/python tests/benchmarks/sharing.py [--seeds 2] > tests/benchmarks/sharing.json

A grid of levels, patch drops and mask data fractions on digits, 27 trials a seed. Both sides
compute in this process, on one thread, and time nothing but stages: `shared_s` computes each stage
of the grid once, in the order of the plan, as a sweep with a store does; `alone_s` runs every trial
from its beginning with nothing at hand, as a sweep without one does. Trial by trial they take
turns, so both meet the same machine. `saved` is 1 - shared / alone. `same` says whether both ways
give every trial the same accuracies, to the last bit.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.measuring import about

SWEEP = """\
name: sharing
data: {name: digits, validation: 200}
model:
  name: vit_tiny_patch16_224
  pretrained: false
  kwargs: {img_size: 8, patch_size: 2, in_chans: 1, embed_dim: 64, depth: 4, num_heads: 4}
  mean: [0.3]
  std: [0.38]
dense: {epochs: 10, lr: 3.0e-3, batch_size: 32, warmup_steps: 100, grad_clip: 1.0}
tickets: {weights: adapted}
issp: {target_sparsity: 0.7, ingredients: 5, steps: 30, lr: 1.0e-3, batch_size: 64}
finetune: {weights: current, epochs: 2, lr: 5.0e-4, batch_size: 64}
search:
  arm: [lotus]
  sparsity: [0.3, 0.5, 0.6]
  patch_drop: [0.1, 0.3, 0.5]
  mask_data_fraction: [0.1, 0.5, 1.0]
  seed: SEEDS
"""


def compare(seeds: int) -> dict[str, Any]:
    """Seconds of all stages, both ways."""
    import torch

    from orchestrator.planning.plan import plan
    from orchestrator.planning.sweepfile import load_sweep
    from orchestrator.storage.keys import key_of
    from trials.context import Context
    from trials.graph.execute import call

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sharing.yaml"
        path.write_text(SWEEP.replace("SEEDS", json.dumps(list(range(seeds)))), encoding="utf-8")
        planned = plan(load_sweep(path))
    store: dict[str, Any] = {}
    spent = {"shared": 0.0, "alone": 0.0}
    calls = {"shared": 0, "alone": 0}
    same = True
    for number, trial in enumerate(planned.trials, start=1):
        sources = planned.sources_of(trial.config).objects()

        def compute(known: dict[str, Any], way: str, trial: Any = trial, at: Any = sources) -> Any:
            def get(node: Any) -> Any:
                key = key_of(node)
                if key not in known:
                    known[key] = call(node, Context(), at, get)
                    calls[way] += 1
                return known[key]

            start = time.perf_counter()
            final = get(trial.graph.final)
            spent[way] += time.perf_counter() - start
            return final

        with_store, without = compute(store, "shared"), compute({}, "alone")
        same &= with_store.test.accuracy == without.test.accuracy
        same &= with_store.validation.accuracy == without.validation.accuracy
        print(f"{number} of {len(planned.trials)}: {spent}", file=sys.stderr, flush=True)
    return {
        "trials": len(planned.trials),
        "stages_shared": calls["shared"],
        "stages_alone": calls["alone"],
        "shared_s": round(spent["shared"], 1),
        "alone_s": round(spent["alone"], 1),
        "saved": round(1 - spent["shared"] / spent["alone"], 3),
        "same": same,
    }


def main() -> None:
    """Compare and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    print(json.dumps(about() | compare(options.seeds), indent=1))


if __name__ == "__main__":
    main()
