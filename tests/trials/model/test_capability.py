import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from tests.trials import models
from tests.trials.models import MODELS, Make
from trials.errors import ModelError
from trials.model import answers, capability
from trials.model.attention_maps import attention_maps
from trials.model.capability import Capability, capability_of, of_arch
from trials.model.cost import forward_macs
from trials.model.families import HOMES
from trials.model.forward import forward
from trials.model.module import Model
from trials.model.vit import Arch, Checkpoint
from trials.tokens import tickets

TIMM = timm.list_models()
AT_HOME = [name for name in TIMM if timm.model_entrypoint(name).__module__ in HOMES]


def look(name: str, **kwargs: Any) -> Capability:
    return capability_of(name, {"num_classes": 10} | kwargs)


def refusal(name: str, **kwargs: Any) -> str:
    """Why it is refused, which is one line of a readable length."""
    with pytest.raises(ModelError) as caught:
        look(name, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    assert 20 < len(message) <= 400
    return message


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_what_a_kind_of_model_can_do_is_what_its_module_has(kind: str, made: Make) -> None:
    model, expected = made(kind), MODELS[kind]
    found, module = of_arch(model.arch), model.module
    assert (found.class_token, found.prefix) == (expected.class_token, expected.prefix)
    assert (found.image, found.patch, found.grid) == ((8, 8), (2, 2), (4, 4))
    assert (found.channels, found.logits, found.depth, found.width) == (1, 10, 2, 32)
    assert (found.attention == "differential") == kind.startswith("differential")
    layers = {
        f"blocks.{name}.weight": (layer.out_features, layer.in_features)
        for name, layer in module.blocks.named_modules()
        if isinstance(layer, torch.nn.Linear)
    }
    assert {name: (out, into) for name, out, into in found.prunable} == layers
    state = module.state_dict()
    assert [name for name in state if name in layers] == [name for name, _, _ in found.prunable]
    assert all(tuple(state[name].shape) == shape for name, shape in layers.items())


@pytest.mark.parametrize("kind", MODELS)
@torch.no_grad()
def test_macs_are_those_of_every_product_of_a_real_pass(kind: str, made: Make) -> None:
    """Counted by hand at every layer and every attention, on numbers and not on the meta device."""
    model = made(kind)
    found, total = of_arch(model.arch), [0]

    class Count(torch.overrides.TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            functions = torch.nn.functional
            out = func(*args, **(kwargs or {}))
            if func is functions.linear:
                outputs = (args[1] if len(args) > 1 else kwargs["weight"]).shape[0]
                # The classifier has ten.
                total[0] += args[0].numel() * outputs if outputs != 10 else 0
            elif func is functions.scaled_dot_product_attention:
                q, k, v = args[:3]
                total[0] += q.numel() * k.shape[-2] + q.numel() // q.shape[-1] * v[0, 0].numel()
            elif func is torch.conv2d:
                total[0] += out.numel() * args[1][0].numel()
            return out

    for count in (16, 9, 1):
        kept = tickets.indices(torch.arange(16).unsqueeze(0) < count)
        total[0] = 0
        with Count():
            forward(model.module, models.images(1), kept)
        assert forward_macs(found, count) == total[0]


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("vit_small_patch16_224", True),
        ("deit3_small_patch16_224", True),
        ("vit_base_patch16_siglip_224", False),
        ("vit_giant_patch14_dinov2", False),
    ],
)
def test_a_plain_transformer_costs_what_the_formula_says_to_the_last_digit(
    name: str, plain: bool
) -> None:
    found = look(name)
    d, n = found.width, found.prefix + found.patches
    hidden = next(out for layer, out, _ in found.prunable if layer.endswith("fc1.weight"))
    blocks = found.depth * (n * d * (4 * d + 2 * hidden) + 2 * n * n * d)
    formula = blocks + found.patches * 3 * found.patch[0] * found.patch[1] * d
    assert found.plain == plain
    assert (forward_macs(found) == formula) == plain


def test_packed_swiglu_and_a_pool_by_attention_are_counted_as_they_are() -> None:
    giant, siglip = look("vit_giant_patch14_dinov2"), look("vit_base_patch16_siglip_224")
    d, n = giant.width, 1 + giant.patches
    block = n * d * 4 * d + n * (d * 8192 + 4096 * d) + 2 * n * n * d
    assert forward_macs(giant) == 40 * block + giant.patches * 3 * 14 * 14 * d
    d, n = siglip.width, siglip.patches
    pool = 2 * n * d * d + 2 * d * d + 2 * n * d + 8 * d * d
    block = 12 * n * d * d + 2 * n * n * d
    assert forward_macs(siglip) == 12 * block + n * 3 * 16 * 16 * d + pool


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "no such model": ("vit_smal_patch16_224", {}, "near it: .*vit_small_patch16_224"),
    "no such weights": ("vit_small_patch16_224.nonsense", {}, "no weights nonsense.*augreg"),
    "another architecture": ("resnet18", {}, "is a resnet of timm"),
    "another transformer": ("swin_tiny_patch4_window7_224", {}, "is a swin_transformer of timm"),
    "a convolutional stem": ("vit_tiny_r_s16_p8_224", {}, "a dropped patch would still be seen"),
    "a stem of convolutions": ("vit_base_mci_224", {}, "a dropped patch would still be seen"),
    "no multiple of the patch": (
        "vit_tiny_patch16_224",
        {"img_size": 9, "patch_size": 2},
        "9 pixels high.*write img_size 8 or 10",
    ),
    "padding to a multiple": (
        "vit_tiny_patch16_224",
        {"img_size": 9, "patch_size": 2, "dynamic_img_size": True, "dynamic_img_pad": True},
        "write img_size 8 or 10",
    ),
    "no head": ("vit_tiny_patch16_224", {"num_classes": 0}, "num_classes = 0.*gives features"),
    "no pool": ("vit_tiny_patch16_224", {"global_pool": ""}, "global_pool = ''.*one logit a class"),
    "no pool in Eva": ("eva02_tiny_patch14_224", {"global_pool": ""}, "one logit a class"),
    "unknown argument": ("vit_tiny_patch16_224", {"depht": 3}, "timm cannot build"),
    "heads that do not divide": ("vit_tiny_patch16_224", {"num_heads": 5}, "timm cannot build"),
    "no heads": ("vit_tiny_patch16_224", {"num_heads": 0}, "timm cannot build"),
    "no patch": ("vit_tiny_patch16_224", {"patch_size": 0}, "timm cannot build"),
    "no blocks": ("vit_tiny_patch16_224", {"depth": 0}, "depth"),
    "no image": ("vit_tiny_patch16_224", {"img_size": "large"}, "timm cannot build"),
}


@pytest.mark.parametrize(("name", "kwargs", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_work_is_refused_in_one_line(
    name: str, kwargs: dict[str, Any], message: str
) -> None:
    assert re.search(message, refusal(name, **kwargs))


@pytest.fixture
def kept_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where answers are kept; this process looks as if it had not imported timm."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(answers, "_timm_is_here", lambda: False)
    monkeypatch.setattr(capability, "_KNOWN", {})
    answers.installed.cache_clear()
    yield tmp_path / "lotus-sweep" / "timm"
    answers.installed.cache_clear()


def test_answers_and_refusals_are_kept(kept_answers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = look("vit_tiny_patch16_224", img_size=[8, 16], patch_size=2, depth=3)
    refused = refusal("vit_tiny_r_s16_p8_224")
    assert len(list(kept_answers.iterdir())) == 2
    monkeypatch.setattr(capability, "_KNOWN", {})
    monkeypatch.setattr(capability, "build_empty", None)
    again = look("vit_tiny_patch16_224", img_size=[8, 16], patch_size=2, depth=3)
    assert again == asked
    assert refusal("vit_tiny_r_s16_p8_224") == refused
    assert dataclasses.asdict(again)["prunable"] == asked.prunable


def test_most_of_timm_is_refused_without_building_it(monkeypatch: pytest.MonkeyPatch) -> None:
    others = sorted(set(TIMM) - set(AT_HOME))
    assert len(others) > 1000
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("a model was built"))
    monkeypatch.setattr(capability.answers, "kept", lambda question, ask, lasting: ask())
    for name in others:
        assert name in refusal(name)


def answer(name: str) -> Capability | str:
    """What it can do, or why it is refused; any other error is a third outcome."""
    try:
        return look(name)
    except ModelError as error:
        return str(error)


WORKING = 249
"""Of the 1,371 names of timm 1.0.31, those that work as they are: docs/models.md."""


def shrunk(name: str, found: Capability) -> Arch | None:
    """The architecture made small, where timm can make it so."""
    own = {"num_classes": 3, "in_chans": 2, "depth": 2, "embed_dim": 64, "num_heads": 2}
    size = {"img_size": [3 * side for side in found.patch]}
    for kwargs in (own | size, own | size | {"num_kv_heads": 1}):
        try:
            capability_of(name, kwargs)
        except ModelError:
            continue
        return Arch(name, kwargs, (0.5,), (0.5,))
    return None


@torch.no_grad()
@pytest.mark.slow
def test_every_model_of_timm_works_or_is_refused_in_one_line() -> None:
    """There is no third outcome. What works is tried small: whole, in part, and its attention."""
    works, tried = [], 0
    for name in AT_HOME:
        found = answer(name)
        if isinstance(found, str):
            assert "\n" not in found
            assert name in found
            continue
        works.append(name)
        assert found.logits == 10
        arch = shrunk(name, found)
        if arch is None:
            continue
        tried += 1
        plain = timm.create_model(arch.name, **arch.kwargs).eval()
        model = Model.of(Checkpoint(arch, dict(plain.state_dict())), torch.device("cpu"))
        x = torch.randn(2, 2, *model.size)
        assert torch.equal(model(x), plain(x)), name
        kept = tickets.indices(torch.tensor([[True] * 5 + [False] * 4, [False] * 4 + [True] * 5]))
        gathered, masked = (
            forward(model.module, x, kept, removal) for removal in ("gather", "attention_mask")
        )
        torch.testing.assert_close(gathered, masked, rtol=1e-4, atol=1e-5, msg=name)
        (attention,) = attention_maps(model.module, x, [-1])
        torch.testing.assert_close(
            attention.sum(-1), torch.ones(attention.shape[:-1]), rtol=1e-4, atol=1e-4, msg=name
        )
    assert len(works) >= WORKING
    assert tried >= 0.9 * len(works), "timm can make most of them small"
