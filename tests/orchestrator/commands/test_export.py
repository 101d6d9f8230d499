"""`lotus export` of a finished sweep."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from orchestrator import load_sweep, results, select
from orchestrator.cli import cli
from orchestrator.commands.export import _other_in_timm, export
from orchestrator.worker import checkpoints
from trials.context import Outcomes
from trials.errors import LotusError
from trials.formats import load_mask
from trials.model import vit
from trials.reduction.config import ReductionConfig
from trials.stages.finetune import Finetuned

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lotus(finished_sweep: Path) -> Callable[..., Result]:
    def run(*args: str) -> Result:
        return CliRunner().invoke(cli, ["export", str(finished_sweep), *args])

    return run


def test_the_recommended_model_loads_in_plain_timm(
    finished_sweep: Path, lotus: Callable[..., Result], tmp_path: Path
) -> None:
    folder = tmp_path / "new/model"
    done = lotus("--output", str(folder), "--format", "onnx")
    assert done.exit_code == 0, done.output
    names = {"config.json", "lotus.json", "mask.safetensors", "model.onnx", "model.safetensors",
             "README.md"}  # fmt: skip
    assert {path.name for path in folder.iterdir()} == names
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    state = load_file(folder / "model.safetensors")
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: timm\n")
    assert "This model runs all patches of each image" in card
    keep = load_mask(folder / "mask.safetensors")
    assert all(bool((state[name][~mask] == 0).all()) for name, mask in keep.items())
    best = select(results(load_sweep(finished_sweep))).recommended
    about = json.loads((folder / "lotus.json").read_text())
    assert best is not None
    row = results(load_sweep(finished_sweep)).set_index("key").loc[best.trial_key]
    assert (about["key"], about["trial"]) == (best.trial_key, best.name)
    assert about["final/test_accuracy"] == row["final/test_accuracy"]
    whole, deployed = about["measured"]["whole_images"], about["measured"]["deployed"]
    assert whole["tokens"] == "all patches of each image: what plain timm runs"
    assert whole["test_accuracy"] == row["final/test_accuracy"]
    assert whole["macs"] == row["final/macs_dense"]
    assert deployed["test_accuracy"] == row["final/deployed_test_accuracy"]
    assert deployed["val_accuracy"] == row["final/deployed_val_accuracy"]
    assert deployed["macs"] == row["final/macs"] + row["final/macs_selector"]
    dropped = row["arm"] == "lotus"
    assert deployed["tokens"].startswith("12 patches of each image" if dropped else "all patches")
    assert about["final/macs_training"] == row["final/macs_training"] > 0


@pytest.mark.parametrize("by", ["name", "key", "short key"])
def test_a_trial_whose_checkpoint_only_the_store_has_is_exported(
    by: str, finished_sweep: Path, tmp_path: Path
) -> None:
    sweep = load_sweep(finished_sweep)
    table = results(sweep)
    best = select(table).recommended
    assert best is not None
    row = table[table["key"] != best.trial_key].iloc[0]
    wanted = {"name": row["name"], "key": row["key"], "short key": row["key"][:8]}[by]
    found = export(sweep, tmp_path / "out", wanted)
    assert found.trial == row["name"]
    assert len(timm.create_model(f"local-dir:{found.folder}", pretrained=True).state_dict()) > 10


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--trial", "nothing"], "no finished trial has this key or name. Finished: "),
        (["--trial", "e"], "no finished trial has this key or name"),
        (["--format", "pickle"], "'pickle' is not one of 'safetensors', 'onnx'"),
    ],
)
def test_what_cannot_be_exported_is_said(
    args: list[str], said: str, lotus: Callable[..., Result], tmp_path: Path
) -> None:
    done = lotus("--output", str(tmp_path / "out"), *args)
    assert done.exit_code != 0
    assert said in done.output + str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_model_whose_tokens_leave_inside_needs_a_word_to_be_exported(tmp_path: Path) -> None:
    row = {"final/test_accuracy": 0.7512, "final/deployed_test_accuracy": 0.7449}
    assert _other_in_timm(ReductionConfig(method="tome"), row) == (
        "this model merges tokens inside (tome, r 8): plain timm would run all of them, at 75.1 % "
        "instead of 74.5 %; add --all-tokens to export it so"
    )
    kwargs = {"img_size": 8, "patch_size": 2, "embed_dim": 32, "depth": 2, "num_heads": 2}
    model = vit.ModelConfig(
        name="vit_tiny_patch16_224", pretrained=False, kwargs=kwargs, eval_precision="bfloat16"
    )
    plain = vit.create(model, classes=10, channels=3, seed=0)
    made = vit.reducing(plain, ReductionConfig(method="dynamicvit", keep=0.6), seed=1)
    outcomes = Outcomes(torch.zeros(1, dtype=torch.bool), 0.0)
    path = tmp_path / "final.safetensors"
    checkpoints.write_checkpoint(Finetuned(made, (), outcomes, 0.0), path, "key")
    again = checkpoints.read_checkpoint(path)
    assert again.arch == made.arch
    assert again.arch.reduction is not None
    assert again.arch.reduction.settings == {
        "method": "dynamicvit",
        "blocks": "quarters",
        "keep": 0.6,
        "count": "published",
    }
    whole = vit.whole(again)
    assert whole.arch == plain.arch
    assert whole.arch.eval_precision == "bfloat16"
    assert whole.state.keys() == plain.state.keys() < again.state.keys()


def test_an_earlier_export_and_a_file_are_not_overwritten(
    lotus: Callable[..., Result], tmp_path: Path
) -> None:
    assert lotus("--output", str(tmp_path / "out")).exit_code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    again = lotus("--output", str(tmp_path / "out"))
    assert "holds config.json already: name another folder" in str(again.exception)
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    (tmp_path / "file").touch()
    assert "is a file" in str(lotus("--output", str(tmp_path / "file")).exception)


def test_without_a_store_the_words_say_where_the_checkpoint_may_be(
    finished_sweep: Path, tmp_path: Path
) -> None:
    sweep = load_sweep(finished_sweep, [f"storage.path={tmp_path}/elsewhere"])
    table = results(sweep)
    best: Any = select(table).recommended
    found = export(sweep, tmp_path / "best", best.trial_key)  # MLflow has it
    assert found.trial == best.name
    other = table[table["key"] != best.trial_key].iloc[0]["key"]
    with pytest.raises(LotusError, match=r"neither in MLflow \(retention.checkpoints = best\) nor"):
        export(sweep, tmp_path / "other", other)
    shutil.rmtree(tmp_path / "elsewhere", ignore_errors=True)
    assert not (tmp_path / "other").exists()
