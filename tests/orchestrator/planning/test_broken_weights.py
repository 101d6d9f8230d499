"""Weights, heads and folders that cannot be used: one line each, before any device is asked for."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save, save_file

from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import plan
from orchestrator.planning.problems import SweepError
from trials.errors import LotusError
from trials.formats import save_checkpoint

Tiny = Callable[..., SweepConfig]
NAME = "vit_tiny_patch16_224"
KWARGS = {"img_size": 8, "patch_size": 2, "embed_dim": 16, "depth": 2, "num_heads": 2}


def state(name: str = NAME, **extra: Any) -> dict[str, torch.Tensor]:
    kwargs = KWARGS | {"in_chans": 1, "num_classes": 10} | extra
    found: dict[str, torch.Tensor] = timm.create_model(name, **kwargs).state_dict()
    return found


def file(content: dict[str, torch.Tensor] | bytes, name: str = "w.safetensors") -> Any:
    """What writes it, and gives the setting that names it."""

    def make(folder: Path) -> list[str]:
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            save_file({n: t.clone().contiguous() for n, t in content.items()}, folder / name)
        return [f"model.pretrained={folder / name}"]

    return make


def later(content: Callable[[], dict[str, torch.Tensor]]) -> Any:
    """`file` of tensors that are made when the test runs."""

    def make(folder: Path) -> list[str]:
        found: list[str] = file(content())(folder)
        return found

    return make


def damaged(folder: Path) -> list[str]:
    save_checkpoint(state(), folder / "w.safetensors", {"format": "pt"})
    content = bytearray((folder / "w.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "w.safetensors").write_bytes(bytes(content))
    return [f"model.pretrained={folder}/w.safetensors"]


def pickled(folder: Path) -> list[str]:
    torch.save(state(), folder / "w.pth")
    return [f"model.pretrained={folder}/w.pth"]


def directory(files: dict[str, Any], *, named: bool = False) -> Any:
    """A folder; `named`: as the model's name."""

    def make(folder: Path) -> list[str]:
        (folder / "m").mkdir()
        for name, content in files.items():
            if isinstance(content, bytes):
                (folder / "m" / name).write_bytes(content)
            else:
                (folder / "m" / name).write_text(json.dumps(content))
        if named:
            return [f"model.name=local-dir:{folder}/m", "model.pretrained=true"]
        return [f"model.pretrained={folder}/m"]

    return make


def settings(*written: str) -> Any:
    return lambda folder: list(written)


WHOLE = save({"x": torch.ones(1)})
TIMM = {"architecture": NAME, "model_args": KWARGS, "pretrained_cfg": {}}

BROKEN: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "absent": (lambda f: [f"model.pretrained={f}/none.safetensors"], "cannot be read: No such"),
    "too long a name": (settings(f"model.pretrained={'x' * 5000}"), "cannot be read: File name"),
    "too long a folder": (
        settings(f"model.name=local-dir:{'x' * 5000}", "model.pretrained=true"), "File name too",
    ),
    "a pickle": (pickled, "which can run code: convert it with `lotus import"),
    "empty": (file(b""), "is not a safetensors file"),
    "cut off": (file(b"\x10\x00\x00\x00\x00\x00\x00\x00{"), "is not a safetensors file"),
    "damaged": (damaged, "is damaged, its content does not have the digest"),
    "shallower": (later(lambda: state(depth=1)), "model.kwargs.depth: 1"),
    "wider": (later(lambda: state(embed_dim=64)), "model.kwargs.embed_dim: 64"),
    "another MLP": (later(lambda: state(mlp_ratio=2)), "model.kwargs.mlp_ratio: 2"),
    "registers": (later(lambda: state(reg_tokens=2)), "model.kwargs.reg_tokens: 2"),
    "pooled": (later(lambda: state(global_pool="avg")), "model.kwargs.global_pool: avg"),
    "distilled": (
        later(lambda: state("deit_tiny_distilled_patch16_224")), "`distilled`",
    ),
    "normed queries": (later(lambda: state(qk_norm=True)), "model.kwargs.qk_norm: true"),
    "foreign names": (file({"vit.embeddings.cls": torch.ones(1)}), "are not timm's"),
    "two models": (
        later(lambda: {f"{a}.{n}": t for n, t in state().items() for a in "ab"}), "--prefix",
    ),
    "an empty folder": (directory({}), "holds no safetensors file"),
    "a folder of pickles": (
        directory({"pytorch_model.bin": b"x"}), "holds pytorch_model.bin, a pickle",
    ),
    "a split model": (
        directory({"model-1.safetensors": b"x", "model-2.safetensors": b"x"}),
        "holds 2 safetensors files",
    ),
    "a folder of transformers": (
        directory({"config.json": {"model_type": "vit"}, "model.safetensors": b"x"}),
        "of transformers (model_type vit)",
    ),
    "a named folder that is absent": (
        lambda f: [f"model.name=local-dir:{f}/none", "model.pretrained=true"],
        "there is no such folder",
    ),
    "a named folder without a config": (directory({}, named=True), "has no config.json"),
    "a config that is no JSON": (directory({"config.json": b"{"}, named=True), "is not JSON"),
    "a config of something else": (
        directory({"config.json": [1]}, named=True), "not of timm (no `architecture`)",
    ),
    "an architecture that timm has not": (
        directory({"config.json": TIMM | {"architecture": "vit_x"}, "model.safetensors": WHOLE},
                  named=True),
        "has no such model",
    ),
    "arguments that are none": (
        directory({"config.json": TIMM | {"model_args": {"a b": 1}}, "model.safetensors": b"x"},
                  named=True),
        "config.json cannot be used",
    ),
    "a config without weights": (directory({"config.json": TIMM}, named=True), "holds no safeten"),
    "no head": (settings("model.kwargs.num_classes=0"), "num_classes = 0 is a model without"),
    "a repository that is none": (
        settings("model.pretrained=hf-hub:a/b/c"), "a repository is written hf-hub:ORG/NAME",
    ),
    "a repository without a word before it": (
        settings("model.name=timm/vit_tiny"), "a repository is written hf-hub:timm/vit_tiny",
    ),
    "a probe of nothing": (settings("dense.train=heads"), "dense.train"),
    "a rising rate": (settings("dense.layer_decay=1.5"), "dense.layer_decay"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_it_is_said_in_one_line_before_anything_runs(what: str, tiny: Tiny, tmp_path: Path) -> None:
    make, said = BROKEN[what]
    (tmp_path / "given").mkdir()
    overrides = make(tmp_path / "given")
    with pytest.raises(LotusError) as refused:
        plan(tiny("", *overrides, "tickets.weights=adapted", "finetune.weights=current")).trials[0]
    text = str(refused.value)
    if isinstance(refused.value, SweepError):  # a line above says how many
        text = text.partition("\n")[2]
    assert said in text
    assert "\n" not in text.strip()
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "mlflow.db").exists()
