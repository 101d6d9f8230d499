"""Broken inputs: one line for each problem, before any device time is spent, and nothing is lost.

A new kind of input adds rows to `TABLE`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from orchestrator.commands import doctor
from tests.orchestrator.conftest import TINY

Lotus = Callable[..., tuple[int, str, str]]
Make = Callable[[Path], object]

GOOD = f"""\
{TINY}\
storage: {{path: store}}
tracking: {{uri: 'sqlite:///mlflow.db'}}
"""


@dataclass(frozen=True)
class Broken:
    """One broken input.

    Attributes:
        says: the beginning or a part of the problem's line.
        command: the arguments before `--set`; `FILE` is the good sweep file.
        sets: overrides of the good sweep file.
        make: makes files below the working directory.
        code: the exit code; 2 = the sweep file or the options are wrong, 1 = what they name is.
        problems: lines of problems.
    """

    name: str
    says: str
    sets: tuple[str, ...] = ()
    make: Make = field(default=lambda folder: None)
    command: tuple[str, ...] = ("plan", "FILE")
    code: int = 2
    problems: int = 1


def file(name: str, content: str | bytes) -> Make:
    """Makes one file."""

    def make(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return make


def every(*makes: Make) -> Make:
    """Makes several."""
    return lambda folder: [make(folder) for make in makes]


def weights(folder: Path) -> None:
    save_file({"head.bias": np.zeros(10, np.float32)}, folder / "w.safetensors")


def cut_off(folder: Path) -> None:
    weights(folder)
    path = folder / "w.safetensors"
    path.write_bytes(path.read_bytes()[:-8])


FILES = [
    Broken("no such file", "no such file, and no bundled sweep", command=("plan", "nope.yaml")),
    Broken("misspelt bundled name", "did you mean `digits`?", command=("plan", "digts")),
    Broken("a folder", "cannot be read", make=lambda f: (f / "d").mkdir(), command=("plan", "d")),
    Broken("empty", "is empty", make=file("x.yaml", ""), command=("plan", "x.yaml")),
    Broken("a list", "is a list", make=file("x.yaml", "- a\n"), command=("plan", "x.yaml")),
    Broken("not YAML", "line 2: ", make=file("x.yaml", "a: 1\n\tb: 2"), command=("plan", "x.yaml")),
    Broken("binary", "cannot be read", make=file("x.yaml", b"\xff\xfe"),
           command=("plan", "x.yaml")),
    Broken("a key twice", "`name` stands twice", make=file("x.yaml", GOOD + "name: b\n"),
           command=("plan", "x.yaml")),
    Broken("too large", "over 1 MB", make=file("x.yaml", "#" * 1_000_001),
           command=("plan", "x.yaml")),
    Broken("sections missing", "data: is missing", make=file("x.yaml", "name: a\n"),
           command=("plan", "x.yaml"), problems=2),
    Broken("a character that nobody sees", "U+202E", ("model.name=vit\u202etiny",)),
]  # fmt: skip

SETTINGS = [
    Broken("an override without a value", "an override is written a.b=value", ("dense.lr",)),
    Broken("unknown key", "did you mean `epochs`?", ("dense.epoch=3",)),
    Broken("text for a number", "dense.lr = fast: must be a number", ("dense.lr=fast",)),
    Broken("below the bound", "dense.lr = -1: must be above 0", ("dense.lr=-1",)),
    Broken("not a number", "must be a finite number", ("dense.lr=.inf",)),
    Broken("percent", "write 0.9 for 90 %", ("search.sparsity=[90]",)),
    Broken("an empty axis", "search.seed: must not be empty", ("search.seed=[]",)),
    Broken("a value twice", "search.seed: holds a value twice", ("search.seed=[1, 1]",)),
    Broken("unknown arm", "did you mean `lotus`?", ("search.arm=[lotos]",)),
    Broken("too little data for a mask", "must be at least 0.1",
           ("search.mask_data_fraction=0.01",)),
    Broken("a level above the target", "above issp.target_sparsity", ("search.sparsity=[0.7]",)),
    Broken("nothing pretrained", "write adapted", ("tickets.weights=pretrained",)),
    Broken("a crop under tickets", "a crop breaks the patch grid", ("finetune.crop=1",)),
    Broken("a range in a grid", "is a range", ("search.sparsity={low: 0.1, high: 0.5}",)),
    Broken("too many trials", "split the sweep",
           ("search={method: random, samples: 2000000, sparsity: {low: 0.1, high: 0.5}}",)),
    Broken("one and a half devices", "write 1 or 2", ("resources.gpu=1.5",)),
    Broken("a type of no device", "accelerator_type without gpu",
           ("resources.accelerator_type=L4",)),
    Broken("tracked nowhere", "must be sqlite:///PATH", ("tracking.uri=ftp://x",)),
    Broken("several at once", "dense.lr", ("dense.lr=-1", "finetune.epochs=0"), problems=2),
]  # fmt: skip

CIFAR = "data={name: cifar10, root: d}"
IN_CIFAR = "d/cifar-10-batches-py"

DATA = [
    Broken("unknown data set", "did you mean `cifar10`?", ("data.name=cifar1",)),
    Broken("no root", "data.root is missing", ("data={name: cifar10}",)),
    Broken("two ways to validate", "split into halves", ("data.validation_from=test",)),
    Broken("more to select on than there are", "there are 1297 train images",
           ("data.validation=9999",), code=1),
    Broken("more to train on than there are", "1257 images are left to train",
           ("data.train_images=1258",), code=1),
    Broken("more to test on than there are", "500 images are in the test set",
           ("data.test_images=501",), code=1),
    Broken("a damaged batch", "is damaged or not the published file", (CIFAR,),
           file(f"{IN_CIFAR}/data_batch_1", b"x"), code=1),
    Broken("a pickle under a batch's name", "it was not opened", (CIFAR,),
           file(f"{IN_CIFAR}/data_batch_1", b"cos\nsystem\n(S'touch owned'\ntR."), code=1),
    Broken("a folder for a batch", "cannot be read", (CIFAR,),
           lambda f: (f / IN_CIFAR / "data_batch_1").mkdir(parents=True), code=1),
    Broken("no data", "holds no CIFAR-10", (CIFAR,), command=("doctor", "FILE"), code=1,
           problems=2),  # the model of the good file takes grey images
    Broken("a file for a folder", "holds no CIFAR-10", (CIFAR,), file("d", b""),
           command=("doctor", "FILE"), code=1, problems=2),
]  # fmt: skip

FOLDER = "data={name: imagefolder, root: d}"


def images(*names: str) -> Make:
    """Makes small images below `d`."""

    def make(folder: Path) -> None:
        for name in names:
            path = folder / "d" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(path)

    return make


FOLDERS = [
    Broken("a folder without a root", "data.root is missing", ("data={name: imagefolder}",)),
    Broken("no folder of images", "there is no such folder", (FOLDER,), code=1),
    Broken("one class", "there is only one class", (FOLDER,), images("a/1.png", "a/2.png"), code=1),
    Broken("images beside the classes", "beside the class folders", (FOLDER,),
           images("a/1.png", "b/1.png", "c.png"), code=1),
    Broken("an empty class", "holds no image: remove it, or fill it", (FOLDER,),
           every(images("a/1.png", "b/1.png"), lambda f: (f / "d" / "c").mkdir()), code=1),
    Broken("a class that is not trained on", "is not in the training part", (FOLDER,),
           images("train/a/1.png", "train/b/1.png", "test/c/1.png"), code=1),
    Broken("a folder of no images", "holds no image", (FOLDER,), file("d/a/x.txt", b"x"), code=1),
    Broken("too few images", "train images", (FOLDER, "data.validation=3"),
           images("a/1.png", "a/2.png", "b/1.png", "b/2.png"), code=1),
    Broken("a damaged image", "b/3.png", (FOLDER,),
           every(images("a/1.png", "a/2.png", "a/3.png", "b/1.png", "b/2.png"),
                 file("d/b/3.png", b"x")), command=("doctor", "FILE"), code=1),
    Broken("parquet that is none", "d/x.parquet", ("data={name: huggingface, root: d}",),
           file("d/x.parquet", b"x"), code=1),
    Broken("a tar that is none", "is damaged, or no tar file",
           ("data={name: webdataset, root: d}",), file("d/x.tar", b"x"), code=1),
    Broken("an unknown set of torchvision", "must be one of", (
           "data={name: torchvision, dataset: CIFAR1000, root: d}",)),
    Broken("several labels an image", "Multi-label data cannot be used", (
           "data={name: torchvision, dataset: CelebA, root: d}",)),
    Broken("a setting that says nothing", "says nothing to `name: digits`", ("data.size=8",)),
    Broken("a download of what cannot be fetched", "torchvision cannot fetch", (
           "data={name: torchvision, dataset: StanfordCars, root: d, download: true}",)),
]  # fmt: skip

FROM_FILE = "model.pretrained=w.safetensors"

MODELS = [
    Broken("misspelt model", "near it: vit_tiny_patch16_224",
           ("model.name=vit_tiny_patch16_225",)),
    Broken("no vision transformer", "resnet18 is a resnet of timm", ("model.name=resnet18",
           "model.kwargs={}")),
    Broken("unknown argument", "model.kwargs", ("model.kwargs.foo=3",)),
    Broken("an argument that loads weights", "write `model.pretrained`",
           ("model.kwargs.checkpoint_path=w.pth",)),
    Broken("heads that do not divide the width", "model.kwargs", ("model.kwargs.num_heads=3",)),
    Broken("no weights there", "w.safetensors cannot be read", (FROM_FILE,),
           command=("doctor", "FILE"), code=1),
    Broken("a pickle for weights", "is not a safetensors file", (FROM_FILE,),
           file("w.safetensors", b"\x80\x04cos\nsystem\n"), code=1),
    Broken("empty weights", "is not a safetensors file", (FROM_FILE,), file("w.safetensors", b""),
           code=1),
    Broken("weights cut off", "is not a safetensors file", (FROM_FILE,), cut_off, code=1),
    Broken("a folder for weights", "holds no safetensors file", (FROM_FILE,),
           lambda f: (f / "w.safetensors").mkdir(), code=1),
]  # fmt: skip

PLACES = [
    Broken("an unknown kind of store", "storage.path = nothing://x cannot be used",
           ("storage.path=nothing://x",), code=1),
    Broken("a store below a file", "NO  store: ", ("storage.path=f/store",), file("f", b"x"),
           command=("doctor", "FILE"), code=1),
    Broken("no database", "mlflow.db", (), file("mlflow.db", b"no database " * 100), code=1),
]  # fmt: skip

NEW = ("new", "--data", "digits", "--model", "vit_tiny_patch16_224", "--weights", "none",
       "--budget", "1h", "--out", "new.yaml")  # fmt: skip


def new(**given: str) -> tuple[str, ...]:
    """`lotus new` with good options but for those that are given."""
    found = list(NEW)
    for name, value in given.items():
        found[found.index(f"--{name}") + 1] = value
    return tuple(found)


DRAFTS = [
    Broken("nothing given", "--data: is missing", command=("new",), problems=3),
    Broken("data that are nowhere", "known by name: digits, cifar10, ", command=new(data="zzz")),
    Broken("misspelt data", "did you mean `cifar10`?", command=new(data="cifar-10")),
    Broken("a file for data", "is a file", make=file("d.zip", b"x"), command=new(data="d.zip")),
    Broken("a folder without images", "holds no images", make=file("d/a/x.txt", b"x"),
           command=new(data="d")),
    Broken("a budget without a unit", "must be a time with its unit", command=new(budget="30")),
    Broken("no budget", "must be above 0", command=new(budget="0m")),
    Broken("a budget that is too small", "the least that says something takes",
           command=new(budget="1s")),
    Broken("misspelt model of a draft", "near it: vit_tiny_patch16_224",
           command=new(model="vit_tiny_patch16_225")),
    Broken("weights that are nowhere", "there is no such file", command=new(weights="w.pth")),
    Broken("a file that is there", "exists", make=file("new.yaml", b"mine"), command=NEW),
    Broken("a folder that is not there", "no such folder", command=new(out="no/new.yaml")),
    Broken("everything wrong at once", "--budget = x", problems=4,
           command=new(data="zzz", budget="x", model="nope", out="no/new.yaml")),
]  # fmt: skip

TABLE = [*FILES, *SETTINGS, *DATA, *FOLDERS, *MODELS, *PLACES, *DRAFTS]


def test_there_are_forty_and_each_has_its_own_name() -> None:
    assert len({broken.name for broken in TABLE}) == len(TABLE) >= 40


def tree(folder: Path) -> dict[str, Any]:
    """Everything below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def problem_lines(broken: Broken, out: str, err: str) -> list[str]:
    """The lines that say what is wrong."""
    if broken.command[0] == "doctor":
        assert err == ""
        return [line for line in out.splitlines() if line.startswith("NO  ")]
    assert out == ""
    first, *rest = err.splitlines()
    if broken.code == 1:
        assert first.startswith("Error: ")
        return [first, *rest]
    count = f"{len(rest)} problem{'s' if len(rest) != 1 else ''}"
    assert first.endswith(f": {count}")
    assert all(line.startswith("  ") for line in rest)
    return rest


@pytest.mark.slow
@pytest.mark.parametrize("broken", TABLE, ids=lambda broken: broken.name.replace(" ", "-"))
def test_a_broken_input_is_one_line_and_costs_nothing(
    broken: Broken, tmp_path: Path, lotus: Lotus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "_cluster", lambda sweep, address: "1 node(s)")
    (tmp_path / "good.yaml").write_text(GOOD, encoding="utf-8")
    broken.make(tmp_path)
    before = tree(tmp_path)
    args = ["good.yaml" if arg == "FILE" else arg for arg in broken.command]
    code, out, err = lotus(*args, *(part for one in broken.sets for part in ("--set", one)))
    assert "Traceback" not in out + err
    assert code == broken.code, out + err
    lines = problem_lines(broken, out, err)
    assert len(lines) == broken.problems, lines
    assert any(broken.says in line for line in lines), lines
    made = {"store": None} if broken.command[0] == "doctor" else {}  # whether it can be written
    assert tree(tmp_path) in (before, before | made)


def test_the_good_file_is_good(
    tmp_path: Path, lotus: Lotus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "_cluster", lambda sweep, address: "1 node(s)")
    (tmp_path / "good.yaml").write_text(GOOD, encoding="utf-8")
    for command in ("plan", "doctor"):
        code, out, err = lotus(command, "good.yaml")
        assert (code, err) == (0, ""), out
    assert lotus(*NEW)[0] == 0
    assert lotus("plan", "new.yaml")[0] == 0
