"""The first hour of somebody who has a folder of images: every command, timed.

    .venv/bin/python tests/benchmarks/strangers_hour.py > tests/benchmarks/strangers_hour.json

Makes 1,000 JPEGs of three sizes in class folders, shapes of four kinds and colours on noise. Then
`lotus new`, `doctor`, `plan`, `run`, `report` and `export`, as a stranger types them. At the end
plain timm, in a process that does not import this project, loads what was exported and looks at
every image. The model is trained from scratch, so that no network is needed; `--model`,
`--weights` and `--budget` are those of `lotus new`.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks import measuring

COUNT = 1000
SIZES = ((64, 64), (96, 72), (160, 120))
CLASSES = {
    "circle": (200, 60, 50),
    "cross": (210, 190, 60),
    "square": (60, 160, 80),
    "triangle": (60, 90, 200),
}
"""Shapes with the colour that they have on average."""

LOTUS = (sys.executable, "-m", "orchestrator.cli")

PLAIN_TIMM = """
import json, sys
from pathlib import Path
import timm, torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
torch.set_num_threads(2)
model = timm.create_model("local-dir:" + sys.argv[1], pretrained=True).eval()
settings = resolve_model_data_config(model)
transform = create_transform(**(settings | {"crop_pct": 1.0, "crop_mode": "squash"}))
classes = sorted(path.name for path in Path(sys.argv[2]).iterdir())
right = count = 0
with torch.inference_mode():
    for label, name in enumerate(classes):
        for path in sorted(Path(sys.argv[2], name).iterdir()):
            image = transform(Image.open(path).convert("RGB"))[None]
            right += int(model(image).argmax()) == label
            count += 1
assert not [name for name in sys.modules if name.split(".")[0] in ("trials", "orchestrator")]
print(json.dumps({"images": count, "accuracy": right / count}))
"""
"""Trained on most of these images, so the accuracy only says that the model is the trained one."""


def make(folder: Path, count: int) -> None:
    """Images in a folder for each class, always the same."""
    draw = random.Random(0)
    for number in range(count):
        name = list(CLASSES)[number % len(CLASSES)]
        path = folder / name / f"{number:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn(name, SIZES[draw.randrange(len(SIZES))], draw).save(path, quality=90)


def drawn(name: str, size: tuple[int, int], draw: random.Random) -> Image.Image:
    """One shape somewhere on noise."""
    width, height = size
    image = Image.frombytes("L", size, draw.randbytes(width * height)).convert("RGB")
    image = Image.blend(image, Image.new("RGB", size, grey(draw)), 0.6)
    side = draw.uniform(0.35, 0.7) * height
    x, y = draw.uniform(0, width - side), draw.uniform(0, height - side)
    colour = tuple(min(255, max(0, part + draw.randint(-50, 50))) for part in CLASSES[name])
    pen, box = ImageDraw.Draw(image), (x, y, x + side, y + side)
    if name == "circle":
        pen.ellipse(box, fill=colour)
    elif name == "square":
        pen.rectangle(box, fill=colour)
    elif name == "triangle":
        pen.polygon([(x, y + side), (x + side / 2, y), (x + side, y + side)], fill=colour)
    else:
        third = side / 3
        pen.rectangle((x + third, y, x + 2 * third, y + side), fill=colour)
        pen.rectangle((x, y + third, x + side, y + 2 * third), fill=colour)
    return image


def grey(draw: random.Random) -> tuple[int, int, int]:
    """Some background."""
    value = draw.randint(60, 200)
    return value, value, value


class Hour:
    """Steps, one after the other, in a folder that was empty."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.steps = folder, list[dict[str, Any]]()
        paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.surroundings = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}

    def step(self, name: str, *command: str) -> str:
        """Run a command, note its time, and give what it printed.

        Raises:
            SystemExit: it failed; what it said is shown.
        """
        start = time.monotonic()
        done = subprocess.run(
            command, cwd=self.folder, env=self.surroundings, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        self.note(name, time.monotonic() - start)
        if done.returncode:
            sys.exit(f"{name} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def note(self, name: str, seconds: float) -> None:
        """Note what a step took."""
        self.steps.append({"step": name, "seconds": round(seconds, 1)})
        print(f"{name:<10}{seconds:8.1f} s", file=sys.stderr)


def main() -> None:
    """Go through the hour, and print it as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="vit_tiny_patch16_224")
    parser.add_argument("--weights", default="none")
    parser.add_argument("--budget", default="30m")
    parser.add_argument("--count", type=int, default=COUNT)
    asked = parser.parse_args()
    about = measuring.about()
    with tempfile.TemporaryDirectory() as place:
        hour = Hour(Path(place))
        start = time.monotonic()
        make(hour.folder / "shapes", asked.count)
        hour.note("images", time.monotonic() - start)
        given = ("--model", asked.model, "--weights", asked.weights, "--budget", asked.budget)
        hour.step("new", *LOTUS, "new", "--data", "shapes", *given)
        hour.step("doctor", *LOTUS, "doctor", "shapes.yaml")
        planned = json.loads(hour.step("plan", *LOTUS, "plan", "shapes.yaml", "--json"))
        hour.step("run", *LOTUS, "run", "shapes.yaml")
        chosen = json.loads(hour.step("select", *LOTUS, "select", "shapes.yaml", "--json"))
        page = hour.step("report", *LOTUS, "report", "shapes.yaml").split()[-1]
        assert Path(page).is_file(), page
        onnx = ("--output", "model", "--format", "onnx")
        hour.step("export", *LOTUS, "export", "shapes.yaml", *onnx)
        plain = json.loads(hour.step("timm", sys.executable, "-c", PLAIN_TIMM, "model", "shapes"))
        found = {
            "about": about,
            "asked": vars(asked),
            "total_s": round(time.monotonic() - start, 1),
            "steps": hour.steps,
            "trials": planned["trials"]["planned"],
            "forecast_device_hours": planned["device_hours"],
            "answer": chosen["answer"],
            "plain_timm": plain,
            "sweep": (hour.folder / "shapes.yaml").read_text("utf-8").splitlines(),
        }
    assert plain["accuracy"] > 2 / len(CLASSES), plain
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
