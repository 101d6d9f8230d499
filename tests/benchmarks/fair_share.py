"""Two sweeps on one cluster of two slots: does the second progress beside the first?

    .venv/bin/python tests/benchmarks/fair_share.py [--trials 16]

A Ray of two CPUs; sweep `a` starts, and when its first item runs, `b`. Once with the fair share
and once without it, as it was before (the division gives everybody everything). Told are the
seconds from b's first word to its first item, and how many items each sweep finished while both
were alive. The last result stands in fair_share.json.
"""

import argparse
import json
import re
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

HERE = Path(__file__)
ROOT = HERE.parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests/orchestrator")]

from conftest import TINY  # noqa: E402
from programs import Program, environment, free_port  # noqa: E402
from test_nodes import node  # noqa: E402

from orchestrator.versions import hardware, versions  # noqa: E402

UNDIVIDED = """
from orchestrator import sharing
sharing.divide = lambda slots, notes: dict.fromkeys(notes, 2 * slots)
"""


def sweep_file(folder: Path, name: str, trials: int) -> Path:
    """A sweep of short trials of one arm."""
    text = re.sub(r"seed: \[0\]", f"seed: {list(range(trials))}", TINY)
    text = re.sub(r"arm: .*", "arm: [dense]", text).replace("name: tiny\n", f"name: {name}\n")
    text = text.replace("{folder}/mlflow.db", f"{folder}/{name}.db")
    path = folder / f"{name}.yaml"
    path.write_text(text.replace("{folder}/store", f"{folder}/store-{name}"))
    return path


def items(folder: Path, name: str) -> list[tuple[float, float]]:
    """Start and end of every run of a sweep but its own, in seconds."""
    path = folder / f"{name}.db"
    if not path.exists():
        return []
    with closing(sqlite3.connect(path, timeout=30)) as database:
        try:
            query = "SELECT start_time, end_time FROM runs WHERE name != ? ORDER BY start_time"
            rows = database.execute(query, (name,)).fetchall()
        except sqlite3.OperationalError:
            return []
    return [(start / 1000, (end or 0) / 1000) for start, end in rows]


def measure(shared: bool, trials: int) -> dict[str, Any]:
    """Both sweeps once."""
    folder = Path(tempfile.mkdtemp(prefix="lotus-share-"))
    address = f"127.0.0.1:{free_port()}"
    env = environment()
    if not shared:
        (folder / "path").mkdir()
        (folder / "path/sitecustomize.py").write_text(UNDIVIDED)
        env["PYTHONPATH"] = f"{folder}/path:{env['PYTHONPATH']}"
    head = ("--head", f"--port={address.split(':')[1]}", "--node-ip-address=127.0.0.1")
    with node(str(folder), *head, "--include-dashboard=false", "--num-cpus=2"):
        started: dict[str, float] = {}
        programs = []
        for name in "ab":
            args = ("run", str(sweep_file(folder, name, trials)), "--no-report")
            programs.append(
                Program.start(folder / f"{name}.log", *args, "--address", address, env=env)
            )
            started[name] = time.time()
            programs[-1].until(lambda name=name: name == "b" or items(folder, name), 300)
        for program in programs:
            assert program.wait(900) == 0, program.said
    a, b = items(folder, "a"), items(folder, "b")
    both = max(a[0][0], b[0][0]), min(a[-1][1], b[-1][1])
    return {
        "b_waits_s": round(b[0][0] - started["b"], 1),
        "overlap_s": round(max(0.0, both[1] - both[0]), 1),
        "a_items_in_overlap": sum(both[0] <= end <= both[1] for _, end in a),
        "b_items_in_overlap": sum(both[0] <= end <= both[1] for _, end in b),
        "a_s": round(a[-1][1] - started["a"], 1),
        "b_s": round(b[-1][1] - started["b"], 1),
    }


def main() -> None:
    """Measure and write fair_share.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=16)
    trials = parser.parse_args().trials
    found = {
        "date": date.today().isoformat(),
        "hardware": hardware(),
        "versions": versions(),
        "command": f"tests/benchmarks/fair_share.py --trials {trials}",
        "trials_each": trials,
        "shared": measure(True, trials),
        "undivided": measure(False, trials),
    }
    HERE.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
