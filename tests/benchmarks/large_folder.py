"""`lotus plan` on a folder of as many images as ImageNet: the first time, and unchanged again.

    python tests/benchmarks/large_folder.py FOLDER > tests/benchmarks/large_folder.json

The images are made in FOLDER where they are not there (4 KiB of disk each), 1,000 classes, one
part in 26.6 of them in val/. Each is tiny, so that what is measured is what a file costs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.measuring import about

CLASSES = 1000

TRAIN_TO_VALIDATION = 1_281_167 / 50_000

SWEEP = """\
name: large-folder
data: {{name: imagefolder, root: {root}}}
model: {{name: vit_tiny_patch16_224, pretrained: false}}
tickets: {{weights: adapted}}
finetune: {{weights: current}}
search: {{arm: [lotus], sparsity: [0.3]}}
tracking: {{uri: "sqlite:///{folder}/mlflow.db"}}
storage: {{path: "{folder}/store"}}
"""


def image(number: int) -> bytes:
    """A grey image of one pixel, another file for each number."""
    return f"P5\n#{number}\n1 1\n255\n".encode() + bytes([number % 256])


def make(root: Path, images: int) -> None:
    """Fill a folder, unless it has been filled."""
    noted = root / ".images"
    if noted.exists() and noted.read_text() == str(images):
        return
    validation = round(images / (1 + TRAIN_TO_VALIDATION))
    for part, count, first in (("train", images - validation, 0), ("val", validation, images)):
        for label in range(CLASSES):
            folder = root / part / f"n{label:08}"
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(label, count, CLASSES):
                (folder / f"{number:08}.pgm").write_bytes(image(first + number))
    noted.write_text(str(images))


def planned(folder: Path, cache: Path) -> dict[str, Any]:
    """One `lotus plan`: seconds, CPU seconds and the most memory that it held."""
    command = [
        sys.executable,
        "-m",
        "orchestrator.cli",
        "plan",
        str(folder / "sweep.yaml"),
        "--json",
    ]
    environment = os.environ | {"XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1"}
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"lotus plan failed: {os.waitstatus_to_exitcode(status)}")
    json.loads(said)
    return {
        "wall_s": round(time.perf_counter() - start, 2),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "peak_mib": round(used.ru_maxrss / 1024),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1_331_167)
    given = parser.parse_args()
    root = given.folder.absolute()
    start = time.perf_counter()
    make(root, given.images)
    made_s = round(time.perf_counter() - start, 1)
    with tempfile.TemporaryDirectory() as name:
        folder, cache = Path(name), Path(name) / "cache"
        (folder / "sweep.yaml").write_text(SWEEP.format(root=root, folder=folder))
        time.sleep(3)  # what has changed just now is not indexed
        runs = [planned(folder, cache) for _ in range(4)]
        index = cache / "lotus-sweep" / "files.sqlite"
        size = sum(path.stat().st_size for path in index.parent.glob("files.sqlite*"))
    found = {
        **about(),
        "images": given.images,
        "made_s": made_s,
        "first": runs[0],
        "again": runs[1:],
        "index_mib": round(size / 2**20, 1),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
