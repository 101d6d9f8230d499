"""Checkpoints of training programs: what is found in them, and that nothing in them is run."""

import argparse
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trials.errors import ModelError
from trials.model.pickled import unpack

BODY = {
    "cls_token": torch.ones(1, 1, 4),
    "patch_embed.proj.weight": torch.arange(12.0).view(4, 3, 1, 1),
    "blocks.0.norm1.weight": torch.full((4,), 2.0),
}
HEAD = {"head.weight": torch.ones(2, 4)}
STALE = {name: tensor - 1 for name, tensor in BODY.items()}


def under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def saved(content: Any, folder: Path, **options: Any) -> Path:
    torch.save(content, folder / "w.pth", **options)
    return folder / "w.pth"


KINDS: dict[str, tuple[Any, tuple[str, ...], str, set[str]]] = {
    "plain": (BODY | HEAD, (), "", set()),
    "timm": (
        {"arch": "vit", "state_dict": STALE, "state_dict_ema": BODY, "epoch": 3},
        ("state_dict_ema",), "", {"arch", "state_dict", "epoch"},
    ),
    "MAE": (
        {"model": BODY, "optimizer": {"state": {}}, "args": argparse.Namespace(lr=0.1)},
        ("model",), "", {"optimizer", "args"},
    ),
    "DINO": (
        {"student": under("module.backbone.", STALE), "teacher": under("backbone.", BODY)
         | {"head.mlp.0.weight": torch.ones(1)}, "epoch": 1},
        ("teacher",), "backbone.", {"student", "epoch", "head.mlp.0.weight"},
    ),
    "parallel": (under("module.", BODY), (), "module.", set()),
    "Lightning": (
        {"state_dict": under("net.encoder.", BODY) | {"loss.weight": torch.ones(1)}, "loops": {}},
        ("state_dict",), "net.encoder.", {"loops", "loss.weight"},
    ),
    "compiled": ({"model": under("_orig_mod.", BODY)}, ("model",), "_orig_mod.", set()),
    "nested": ({"model": {"state_dict": BODY, "step": 4}}, ("model", "state_dict"), "",
               {"model.step"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_are_found_in_the_usual_wrappers(kind: str, tmp_path: Path) -> None:
    content, inside, prefix, left = KINDS[kind]
    found = unpack(saved(content, tmp_path))
    assert {n: t for n, t in found.state.items() if n not in HEAD}.keys() == BODY.keys()
    assert all(torch.equal(found.state[n], t) for n, t in BODY.items())
    assert (found.inside, found.prefix, set(found.left)) == (inside, prefix, left)
    assert found.words.startswith(f"Took      {len(found.state)} tensors")


def test_an_old_format_is_read_too(tmp_path: Path) -> None:
    path = saved(BODY, tmp_path, _use_new_zipfile_serialization=False)
    assert unpack(path).state.keys() == BODY.keys()


def test_tensors_that_share_memory_are_taken_apart(tmp_path: Path) -> None:
    base = torch.arange(8.0)
    found = unpack(saved({"a": base, "b": base[2:4]}, tmp_path)).state
    assert found["b"].untyped_storage().nbytes() == 8
    assert torch.equal(found["b"], base[2:4])


def test_a_prefix_picks_one_of_several_models(tmp_path: Path) -> None:
    path = saved(under("student.", STALE) | under("teacher.", BODY), tmp_path)
    with pytest.raises(ModelError, match=r"holds 2 models: name one with --prefix, of student\."):
        unpack(path)
    found = unpack(path, "teacher.")
    assert all(torch.equal(found.state[n], t) for n, t in BODY.items())
    assert set(found.left) == set(under("student.", STALE))
    with pytest.raises(ModelError, match="no name begins with nobody"):
        unpack(path, "nobody.")


class Trap:
    """A pickle that leaves a file behind when it is really loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("new", [True, False])
def test_nothing_in_a_pickle_is_run(new: bool, tmp_path: Path) -> None:
    trap = {"state_dict": BODY, "extra": Trap(tmp_path / "run")}
    path = saved(trap, tmp_path, _use_new_zipfile_serialization=new)
    with pytest.raises(ModelError, match="is refused: to read it would run code of its own"):
        unpack(path)
    assert not (tmp_path / "run").exists()
    pickled = tmp_path / "bare.pkl"
    pickled.write_bytes(pickle.dumps(Trap(tmp_path / "run")))
    with pytest.raises(ModelError):
        unpack(pickled)
    assert not (tmp_path / "run").exists()
    torch.load(path, weights_only=False)  # the trap is one
    assert (tmp_path / "run").is_dir()


def written(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def scripted(folder: Path) -> Path:
    import zipfile

    with zipfile.ZipFile(folder / "w.pt", "w") as archive:
        archive.writestr("w/constants.pkl", b"")
    return folder / "w.pt"


BROKEN: dict[str, tuple[Callable[[Path], Path], str]] = {
    "absent": (lambda folder: folder / "w.pth", "cannot be read: No such file"),
    "a folder": (lambda folder: folder, "is a folder"),
    "empty": (written("w.pth", b""), "is empty"),
    "noise": (written("w.pth", b"\x00\x01\x02" * 100), "is no checkpoint of torch, or damaged"),
    "text": (written("w.pth", b"<html>404</html>"), "w.pth is"),
    "safetensors": (written("w.safetensors", b"x"), "is a safetensors file already"),
    "JAX": (written("w.npz", b"x"), "holds JAX arrays"),
    "TorchScript": (scripted, "is a TorchScript program"),
    "no weights": (lambda folder: saved({"epoch": 3}, folder), "no weights are found in it"),
    "a tensor": (lambda folder: saved(torch.ones(3), folder), "holds a Tensor, not weights"),
    "a list": (lambda folder: saved([1], folder), "holds a list, not weights"),
    "not finite": (
        lambda folder: saved(BODY | {"cls_token": torch.full((1,), torch.nan)}, folder),
        "cls_token holds values that are not finite",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_cannot_be_imported_is_said_in_one_line(what: str, tmp_path: Path) -> None:
    make, said = BROKEN[what]
    with pytest.raises(ModelError) as refused:
        unpack(make(tmp_path))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_damaged_archive_is_said_in_one_line(tmp_path: Path) -> None:
    whole = saved(BODY, tmp_path).read_bytes()
    for cut in (10, len(whole) // 2, len(whole) - 5):
        (tmp_path / "cut.pth").write_bytes(whole[:cut])
        with pytest.raises(ModelError) as refused:
            unpack(tmp_path / "cut.pth")
        assert "\n" not in str(refused.value)
