"""`lotus import`, as typed."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import plan

Tiny = Callable[..., SweepConfig]
Lotus = Callable[..., tuple[int, str, str]]
KWARGS = {"img_size": 8, "patch_size": 2, "in_chans": 1, "embed_dim": 16, "depth": 2,
          "num_heads": 2}  # fmt: skip


@pytest.fixture
def dino(tmp_path: Path) -> Path:
    """A checkpoint as DINO writes it: student, teacher, optimizer."""
    body = timm.create_model("vit_tiny_patch16_224", num_classes=0, **KWARGS).state_dict()
    teacher = {f"backbone.{name}": tensor for name, tensor in body.items()}
    content = {
        "student": {f"module.{name}": tensor + 1 for name, tensor in teacher.items()},
        "teacher": teacher | {"head.mlp.0.weight": torch.ones(2, 2)},
        "optimizer": {"state": {}},
        "epoch": 300,
    }
    torch.save(content, tmp_path / "dino.pth")
    return tmp_path / "dino.pth"


def test_a_pickled_checkpoint_becomes_weights_that_a_sweep_takes(
    dino: Path, lotus: Lotus, tiny: Tiny
) -> None:
    code, out, _ = lotus("import", str(dino))
    assert code == 0
    made = dino.with_suffix(".safetensors")
    assert "of teacher, backbone. taken off their names" in out
    assert "Left      student, optimizer, epoch, head.mlp.0" in out
    assert f"Written   {made}" in out
    teacher = torch.load(dino, weights_only=True)["teacher"]
    found = load_file(made)
    assert all(torch.equal(found[n], teacher[f"backbone.{n}"]) for n in found)
    opened = next(iter(plan(tiny("", f"model.pretrained={made}")).opened.values()))
    assert opened.sources.fresh_head
    assert sorted(path.name for path in dino.parent.iterdir()) == [
        "dino.pth", "dino.safetensors", "sweep.yaml",
    ]  # fmt: skip


def test_out_and_prefix_say_where_and_which(dino: Path, lotus: Lotus, tmp_path: Path) -> None:
    out = tmp_path / "new/w.safetensors"
    code, said, _ = lotus("import", str(dino), "--out", str(out), "--prefix", "head.")
    assert code == 0
    assert set(load_file(out)) == {"mlp.0.weight"}
    assert "of teacher, head. taken off" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--out", "w.pt"], "its name has to end in .safetensors"),
        (["--prefix", "nobody."], "no name begins with nobody."),
        (["--out", "/proc/w.safetensors"], "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    options: list[str], said: str, dino: Path, lotus: Lotus, tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())
    code, out, err = lotus("import", str(dino), *options)
    assert (code, out) == (1, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_nothing_is_written_over(dino: Path, lotus: Lotus) -> None:
    made = dino.with_suffix(".safetensors")
    made.write_text("mine")
    code, _, err = lotus("import", str(dino))
    assert code == 1
    assert "is there already" in err
    assert made.read_text() == "mine"


def test_an_absent_file_is_one_line(lotus: Lotus, tmp_path: Path) -> None:
    code, _, err = lotus("import", str(tmp_path / "none.pth"))
    assert code == 1
    assert err.strip() == f"Error: {tmp_path}/none.pth cannot be read: No such file or directory"
