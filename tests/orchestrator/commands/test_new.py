"""A sweep file for somebody's own data, model and budget."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image
from safetensors.torch import save_file

from orchestrator.commands import doctor, new
from orchestrator.commands.new import hours
from orchestrator.planning.assuming import Assuming
from orchestrator.planning.forecasting import forecast
from orchestrator.planning.plan import plan
from orchestrator.planning.sweepfile import load_sweep
from trials.model.vit import ModelConfig, create

Lotus = Callable[..., tuple[int, str, str]]

MODEL = "vit_tiny_patch16_224"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory, and no Ray."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "_cluster", lambda sweep, address: "1 node(s)")


def draft(lotus: Lotus, *more: str, budget: str = "1h", weights: str = "none") -> Path:
    """A drafted file."""
    args = ("--data", "digits", "--model", MODEL, "--budget", budget, "--weights", weights)
    code, out, err = lotus("new", *args, "--out", "a.yaml", *more)
    assert (code, err) == (0, "")
    assert "Check it  lotus doctor a.yaml" in out
    return Path("a.yaml")


def comments(text: str) -> str:
    """What a file says in its comments."""
    return " ".join(line.removeprefix("# ") for line in text.splitlines() if line[:2] == "# ")


@pytest.mark.slow
@pytest.mark.parametrize("budget", ["12m", "30m", "2h"])
def test_a_draft_passes_the_doctor_and_keeps_the_budget(budget: str, lotus: Lotus) -> None:
    path = draft(lotus, budget=budget)
    code, out, _ = lotus("doctor", str(path))
    assert code == 0, out
    sweep = load_sweep(path)
    find = Assuming()
    predicted = forecast(plan(sweep, find=find), []).device_hours
    assert find.said == []
    assert hours(budget) / 3 < predicted <= hours(budget)
    assert len(sweep.axes["seed"]) >= 3


def test_a_larger_budget_buys_more(lotus: Lotus) -> None:
    plans = []
    for budget in ("12m", "2h"):
        path = draft(lotus, budget=budget)
        plans.append(plan(load_sweep(path)))
        path.unlink()
    small, large = plans
    assert len(small.trials) < len(large.trials)
    assert small.sweep.dense.epochs <= large.sweep.dense.epochs


def test_a_draft_says_what_it_rests_on(lotus: Lotus) -> None:
    text = draft(lotus, budget="12m").read_text("utf-8")
    assert text.startswith(
        f"# Written by `lotus new --data digits --model {MODEL} --budget 12m --weights none`."
    )
    said = comments(text)
    assert "CPU-minutes (a guess: this store has measured nothing yet)" in said
    assert "1,797 images in 10 classes" in said
    assert "at 8 pixels a side (made for 224): 16 patches an image." in said
    assert max(map(len, text.splitlines())) <= 100
    raw = yaml.safe_load(text)
    blocks = text.split("\n\n")
    assert len(blocks) == len(raw)  # the name stands at the top
    assert all(block.startswith("# ") for block in blocks)


def test_a_draft_for_data_that_are_not_there_can_be_planned(lotus: Lotus) -> None:
    code, out, _ = lotus(
        "new", "--data", "cifar10", "--model", MODEL, "--budget", "2h", "--weights", "none"
    )
    assert code == 0
    assert "! The data are not there yet: data.root = " in out
    said = comments(Path("cifar10.yaml").read_text("utf-8"))
    assert "They are not there yet; these are the published sizes." in said
    assert lotus("plan", "cifar10.yaml")[0] == 0
    code, out, _ = lotus("doctor", "cifar10.yaml")
    assert code == 1
    assert "holds no CIFAR-10" in out


def test_a_draft_from_a_weights_file_is_adapted(lotus: Lotus, tmp_path: Path) -> None:
    made = create(
        ModelConfig(name=MODEL, pretrained=False, kwargs={"num_classes": 10, "in_chans": 1}),
        classes=10,
        channels=1,
        seed=0,
    )
    save_file({name: t.contiguous() for name, t in made.state.items()}, tmp_path / "w.safetensors")
    sweep = load_sweep(draft(lotus, budget="40h", weights="w.safetensors"))
    assert sweep.model.pretrained == tmp_path / "w.safetensors"
    assert sweep.tickets.weights == "pretrained"
    assert sweep.model.kwargs == {}, "at the size of the weights"
    assert sweep.dense.lr < 1e-3


def test_a_gpu_is_used_where_there_is_one(lotus: Lotus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.versions.gpus", lambda: 1)
    raw = yaml.safe_load(draft(lotus).read_text("utf-8"))
    assert raw["resources"]["gpu"] == 1
    assert raw["dense"]["precision"] == "bfloat16"


def test_what_is_not_given_is_asked_in_a_terminal(
    lotus: Lotus, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Typed(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Typed(f"digits\n{MODEL}\n1h\n"))
    code, out, err = lotus("new", "--weights", "none")
    assert (code, err) == (0, "")
    for question in (new.DATA, new.MODEL, new.BUDGET):
        assert question in out
    assert load_sweep("digits.yaml").model.name == MODEL


def test_weights_that_cannot_be_had_are_said_before_a_file_is_written(
    lotus: Lotus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    args = ("--data", "digits", "--model", "vit_base_patch8_224", "--budget", "900h")
    code, _, err = lotus("new", *args)
    assert code == 2
    assert "--weights = timm: the weights of vit_base_patch8_224 are not in the cache" in err
    assert err.rstrip().endswith("Or write `--weights none` to train from scratch.")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90s", 0.025), ("30m", 0.5), ("1h30m", 1.5), ("1h 30m", 1.5), ("2D", 48.0), ("0.5h", 0.5)],
)
def test_times(text: str, expected: float) -> None:
    assert hours(text) == expected


@pytest.mark.parametrize("text", ["", "30", "m", "30 minutes", "-1h", "1h30", "0s"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        hours(text)


@pytest.mark.parametrize(
    ("data", "name"),
    [("digits", "digits"), ("/tmp/no such/Örtchen #1", "tmp-no-such-rtchen-1"), ("...", "sweep")],
)
def test_names(data: str, name: str) -> None:
    assert new._name_of(data) == name


def test_a_folder_is_held_at_the_size_that_the_model_sees(lotus: Lotus, tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(30):
            Image.new("RGB", (40 + number, 40)).save(tmp_path / "pets" / name / f"{number}.jpg")
    args = ("--data", "pets", "--model", MODEL, "--weights", "none", "--budget", "2h")
    code, out, err = lotus("new", *args)
    assert (code, err) == (0, "")
    assert "60 images in 2 classes, 30 of each." in out
    sweep = load_sweep("pets.yaml")
    assert (sweep.name, sweep.data.name) == ("pets", "imagefolder")
    assert sweep.data.root == tmp_path / "pets"
    assert sweep.data.size == sweep.model.kwargs["img_size"] == 40
    code, out, _ = lotus("doctor", "pets.yaml")
    assert code == 0, out
    assert "43 train, 5 validation, 12 test images" in out
