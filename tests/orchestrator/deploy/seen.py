"""Inside the cluster: what MLflow and the store have of a sweep, pickled to standard output."""

import pickle
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from programs import look, stored_bits

from orchestrator.planning.sweepfile import load_sweep


def main() -> None:
    """`seen.py SWEEP`: the runs, the bits in the store, where both are, and one file's digest."""
    path = Path(sys.argv[1])
    sweep = load_sweep(path)
    found = (look(path), stored_bits(sweep), sweep.tracking.uri, sweep.storage.path)
    sys.stdout.buffer.write(pickle.dumps(found))


if __name__ == "__main__":
    main()
