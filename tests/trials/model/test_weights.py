"""Weights of every kind of file, each compared with what plain timm makes of the same file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from trials.context import Context
from trials.data import datasets as data
from trials.data.datasets import DataConfig
from trials.errors import ModelError
from trials.model import vit
from trials.model.attention_maps import attention_maps
from trials.model.module import Model
from trials.model.vit import Checkpoint, ModelConfig
from trials.model.weights import Loaded, load
from trials.training.evaluation import evaluate

VIT = "vit_tiny_patch16_224"
DISTILLED = "deit_tiny_distilled_patch16_224"
SMALL = {"img_size": 8, "patch_size": 2, "embed_dim": 32, "depth": 2, "num_heads": 2}
HEAD = ("head.weight", "head.bias")
REAL = Path(__file__).parents[4] / "shared" / "data" / "vit-small-14-saliency/model.safetensors"

State = dict[str, Tensor]


def built(name: str = VIT, seed: int = 0, **extra: Any) -> Any:
    """A tiny random module of timm, every tensor large enough to tell apart."""
    kwargs = SMALL | {"num_classes": 10, "in_chans": 3} | extra
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = timm.create_model(name, pretrained=False, **kwargs)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=draw))
    return module


def saved(state: State, folder: Path) -> Path:
    path = folder / "w.safetensors"
    save_file({n: t.detach().clone().contiguous() for n, t in state.items()}, path)
    return path


def by_timm(path: Path, name: str = VIT, was: int = 10, channels: int = 3, **extra: Any) -> State:
    """What `timm.create_model(pretrained=True)` makes of a file."""
    kwargs = SMALL | {"num_classes": 10, "in_chans": 3} | extra
    source = {"file": str(path), "num_classes": was, "input_size": (channels, 8, 8)}
    model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=source, **kwargs)
    found: State = model.state_dict()
    return found


def loaded(path: Path, name: str = VIT, **extra: Any) -> tuple[Loaded, State]:
    module = built(name, seed=9, **extra)
    return load(module, path), module.state_dict()


def same(a: State, b: State, without: tuple[str, ...] = ()) -> bool:
    assert a.keys() == b.keys()
    return all(torch.equal(a[n], b[n]) for n in a if n.split(".")[0] not in without)


def test_a_file_of_the_same_model_is_taken_as_it_is(tmp_path: Path) -> None:
    state = built().state_dict()
    told, found = loaded(saved(state, tmp_path))
    assert same(found, state)
    assert told == Loaded((), (), ())
    assert told.words == ""


def test_a_backbone_without_a_head_leaves_the_head_as_it_was_drawn(tmp_path: Path) -> None:
    state = built().state_dict()
    told, found = loaded(saved({n: t for n, t in state.items() if n not in HEAD}, tmp_path))
    assert same(found, state, without=("head",))
    assert same({n: found[n] for n in HEAD}, {n: built(seed=9).state_dict()[n] for n in HEAD})
    assert told == Loaded(HEAD, (), ())
    assert told.words == "fresh: head"


@pytest.mark.parametrize("prefix", ["backbone.", "module.", "module.backbone.", "_orig_mod.model."])
def test_what_a_training_program_put_before_the_names_is_taken_off(
    prefix: str, tmp_path: Path
) -> None:
    state = built().state_dict()
    body = {f"{prefix}{n}": t for n, t in state.items() if n not in HEAD}
    projection = {"head.mlp.0.weight": torch.ones(4, 32), "loss.center": torch.ones(4)}
    told, found = loaded(saved(body | projection, tmp_path))
    assert same(found, state, without=("head",))
    assert (told.fresh, set(told.left)) == (HEAD, set(projection))


def test_a_masked_autoencoder_leaves_its_decoder_and_its_mask_token(tmp_path: Path) -> None:
    state = built().state_dict()
    decoder = {
        "decoder_embed.weight": torch.ones(16, 32),
        "decoder_blocks.0.norm1.weight": torch.ones(16),
        "decoder_pos_embed": torch.ones(1, 17, 16),
        "mask_token": torch.ones(1, 1, 16),
    }
    body = {n: t for n, t in state.items() if n not in HEAD}
    told, found = loaded(saved(body | decoder, tmp_path))
    assert same(found, state, without=("head",))
    assert set(told.left) == set(decoder)
    assert "decoder_embed" in told.words


def as_clip(state: State) -> State:
    """Under the names of OpenAI's CLIP, with a text tower beside it."""
    swaps = (
        ("patch_embed.proj", "conv1"), ("blocks.", "transformer.resblocks."),
        ("norm_pre", "ln_pre"), ("norm1", "ln_1"), ("norm2", "ln_2"),
        ("attn.qkv.", "attn.in_proj_"), ("attn.proj", "attn.out_proj"),
        ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"),
    )  # fmt: skip
    found: State = {"visual.proj": torch.ones(32, 16), "text_projection": torch.ones(4, 4)}
    tokens = {"class_embedding": state["cls_token"][0, 0], "positional_embedding":
              state["pos_embed"][0]}  # fmt: skip
    for name, tensor in (state | tokens).items():
        if name in (*HEAD, "cls_token", "pos_embed"):
            continue
        theirs = f"ln_post{name[4:]}" if name.startswith("norm.") else name
        for own, other in swaps:
            theirs = theirs.replace(own, other)
        found[f"visual.{theirs}"] = tensor
    return found


def test_clip_is_renamed_as_timm_does(tmp_path: Path) -> None:
    kwargs = {"pre_norm": True}
    state = built(**kwargs).state_dict()
    path = saved(as_clip(state), tmp_path)
    told, found = loaded(path, **kwargs)
    assert same(found, state, without=("head",))
    assert same(found, by_timm(path, was=16, **kwargs), without=("head",))
    assert told.fresh == HEAD


def test_dinov2_with_registers_is_renamed_as_timm_does(tmp_path: Path) -> None:
    kwargs = {"reg_tokens": 3, "no_embed_class": True, "init_values": 1.0e-5}
    state = {n: t for n, t in built(**kwargs).state_dict().items() if n not in HEAD}
    theirs = {n: t for n, t in state.items() if n != "reg_token"}
    theirs["register_tokens"] = state["reg_token"]
    first = torch.full((1, 1, 32), 0.5)
    theirs["cls_token"] = state["cls_token"] - first
    theirs["pos_embed"] = torch.cat([first, state["pos_embed"]], dim=1)
    theirs["mask_token"] = torch.ones(1, 32)
    path = saved(theirs, tmp_path)
    _, found = loaded(path, **kwargs)
    assert same(found, by_timm(path, was=0, **kwargs), without=("head",))
    assert torch.equal(found["reg_token"], state["reg_token"])
    assert torch.allclose(found["cls_token"], state["cls_token"], atol=1e-6)


@pytest.mark.parametrize("size", [6, 16])
@pytest.mark.parametrize(
    "kwargs", [{}, {"reg_tokens": 3}, {"no_embed_class": True}, {"class_token": False,
               "global_pool": "avg"}], ids=["cls", "registers", "no-embed-class", "no-cls"]
)  # fmt: skip
def test_another_image_size_resamples_the_positions_as_timm_does(
    size: int, kwargs: dict[str, Any], tmp_path: Path
) -> None:
    path = saved(built(**kwargs).state_dict(), tmp_path)
    told, found = loaded(path, img_size=size, **kwargs)
    assert same(found, by_timm(path, img_size=size, **kwargs))
    assert told == Loaded((), (), ("pos_embed",))
    assert told.words == "resampled: pos_embed"


def test_another_patch_size_resamples_the_embedding_as_timm_does(tmp_path: Path) -> None:
    path = saved(built().state_dict(), tmp_path)
    told, found = loaded(path, img_size=16, patch_size=4)
    assert same(found, by_timm(path, img_size=16, patch_size=4))
    assert told.resized == ("patch_embed.proj.weight",)


@pytest.mark.parametrize(("was", "wanted"), [(3, 1), (1, 3), (3, 4)])
def test_other_channels_adapt_the_embedding_as_timm_does(
    was: int, wanted: int, tmp_path: Path
) -> None:
    path = saved(built(in_chans=was).state_dict(), tmp_path)
    _, found = loaded(path, in_chans=wanted)
    assert same(found, by_timm(path, channels=was, in_chans=wanted))


@pytest.mark.parametrize("classes", [10, 3])
def test_both_heads_of_a_distilled_model_are_kept_or_both_are_fresh(
    classes: int, tmp_path: Path
) -> None:
    state = built(DISTILLED).state_dict()
    told, found = loaded(saved(state, tmp_path), DISTILLED, num_classes=classes)
    both = ("head", "head_dist")
    if classes == 10:
        assert same(found, state)
        assert told == Loaded((), (), ())
        return
    drawn = built(DISTILLED, seed=9, num_classes=3).state_dict()
    heads = {n for n in found if n.split(".")[0] in both}
    assert all(torch.equal(found[n], drawn[n]) for n in heads)
    assert all(torch.equal(found[n], t) for n, t in state.items() if n not in heads)
    assert set(told.fresh) == set(told.left) == heads
    assert len(heads) == 4


def test_half_precision_is_cast_as_timm_casts_it(tmp_path: Path) -> None:
    path = saved({n: t.half() for n, t in built().state_dict().items()}, tmp_path)
    _, found = loaded(path, img_size=16)
    assert same(found, by_timm(path, img_size=16))
    assert {t.dtype for t in found.values()} == {torch.float32}


@pytest.mark.parametrize(
    "name", ["beitv2_base_patch16_224", "eva02_tiny_patch14_224", "vit_small_patch16_dinov3"]
)
def test_other_families_take_their_own_files(name: str, tmp_path: Path) -> None:
    path = saved(built(name).state_dict(), tmp_path)
    for size in (8, 12):
        told, found = loaded(path, name, img_size=size)
        assert same(found, by_timm(path, name, img_size=size)), size
        assert told.fresh == told.left == ()
    told, found = loaded(path, name, num_classes=3)
    assert same(found, by_timm(path, name, num_classes=3), without=("head",))
    assert told.fresh == HEAD


def test_only_the_shapes_are_needed_to_know_whether_a_file_fits(tmp_path: Path) -> None:
    path = saved(built().state_dict(), tmp_path)
    kwargs = SMALL | {"num_classes": 3, "in_chans": 1, "img_size": 16}
    empty = vit.build_empty(vit.Arch(VIT, kwargs, (), ()))
    told = load(empty, path)
    assert set(told.resized) == {"pos_embed", "patch_embed.proj.weight"}
    assert told.fresh == HEAD
    assert all(parameter.is_meta for parameter in empty.parameters())


MISFITS: dict[str, tuple[Callable[[], State], dict[str, Any], str]] = {
    "too few blocks": (lambda: built(depth=1).state_dict(), {}, "model.kwargs.depth: 1"),
    "too many blocks": (lambda: built(depth=3).state_dict(), {}, "model.kwargs.depth: 3"),
    "another width": (lambda: built(embed_dim=64).state_dict(), {}, "model.kwargs.embed_dim: 64"),
    "another MLP": (lambda: built(mlp_ratio=2).state_dict(), {}, "model.kwargs.mlp_ratio: 2"),
    "registers": (lambda: built(reg_tokens=3).state_dict(), {}, "model.kwargs.reg_tokens: 3"),
    "no registers": (lambda: built().state_dict(), {"reg_tokens": 3}, "reg_tokens: 0"),
    "no class token": (
        lambda: built(class_token=False, global_pool="avg").state_dict(),
        {}, "model.kwargs.class_token: false",
    ),
    "a pooled norm": (
        lambda: built(global_pool="avg").state_dict(), {}, "model.kwargs.global_pool: avg",
    ),
    "no pooled norm": (
        lambda: built().state_dict(), {"global_pool": "avg"}, "model.kwargs.fc_norm: false",
    ),
    "scaled layers": (
        lambda: built(init_values=1e-5).state_dict(), {}, "model.kwargs.init_values: 1.0e-5",
    ),
    "normed queries": (lambda: built(qk_norm=True).state_dict(), {}, "model.kwargs.qk_norm: true"),
    "an early norm": (lambda: built(pre_norm=True).state_dict(), {}, "model.kwargs.pre_norm: true"),
    "distilled": (lambda: built(DISTILLED).state_dict(), {}, "a model.name with `distilled`"),
    "names of transformers": (
        lambda: {"vit.embeddings.cls_token": torch.ones(1, 1, 32)}, {}, "are not timm's",
    ),
    "two models": (
        lambda: {f"{who}.{n}": t for n, t in built().state_dict().items() for who in ("a", "b")},
        {}, "`lotus import FILE --prefix PREFIX`",
    ),
    "nothing": (dict, {}, "holds no tensors"),
}  # fmt: skip


@pytest.mark.parametrize("what", MISFITS)
def test_what_does_not_fit_is_refused_with_what_to_write(what: str, tmp_path: Path) -> None:
    make, kwargs, said = MISFITS[what]
    module = built(**kwargs)
    before = {n: t.clone() for n, t in module.state_dict().items()}
    with pytest.raises(ModelError) as refused:
        load(module, saved(make(), tmp_path))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "w.safetensors" in str(refused.value)
    assert same(module.state_dict(), before)


ADVISED = ("too few blocks", "too many blocks", "another MLP", "registers", "no class token",
           "a pooled norm", "scaled layers", "normed queries", "an early norm")  # fmt: skip


@pytest.mark.parametrize("what", ADVISED)
def test_the_advice_works(what: str, tmp_path: Path) -> None:
    """Written as it stands there, until the file fits."""
    import yaml

    make, kwargs, _ = MISFITS[what]
    path, kwargs = saved(make(), tmp_path), dict(kwargs)
    for _ in range(3):
        try:
            load(built(**kwargs), path)
        except ModelError as error:
            advice = str(error).partition("Write ")[2].partition(", or name")[0]
            for part in advice.split(", "):
                name, value = part.removeprefix("model.kwargs.").split(": ")
                kwargs[name] = yaml.safe_load(value)
    assert load(built(**kwargs), path).fresh == ()


@pytest.fixture(scope="module")
def real() -> Path:
    if not REAL.is_file():
        pytest.skip(f"no ViT-S/14 at {REAL}: see CONTRIBUTING.md, Real data")
    return REAL


@pytest.mark.slow
@pytest.mark.parametrize("size", [98, 112])
def test_the_real_vit_s14_gets_a_new_head_at_other_sizes(
    real: Path, size: int, cifar10_root: Path, cpu: torch.device
) -> None:
    name = "vit_small_patch14_dinov2"
    cfg = ModelConfig(name=name, pretrained=real, kwargs={"img_size": size})
    made = vit.create(cfg, classes=10, channels=3, seed=0)
    theirs = timm.create_model(
        name, pretrained=True, img_size=size, num_classes=0,
        pretrained_cfg_overlay={"file": str(real), "num_classes": 0},
    ).eval()  # fmt: skip
    assert {n for n in made.state if n not in theirs.state_dict()} == set(HEAD)
    assert all(torch.equal(made.state[n], t) for n, t in theirs.state_dict().items())
    assert made.arch.mean == (0.485, 0.456, 0.406)
    images = data.load(DataConfig(name="cifar10", root=cifar10_root)).test.images[:4]
    model = Model.of(made, cpu)
    x = model.inputs(torch.from_numpy(images))
    with torch.no_grad():
        assert torch.equal(model.module.forward_head(theirs.forward_features(x)), model(x))
        (rows,) = attention_maps(model.module, x, [-1])
    assert rows.shape[-1] == 1 + (size // 14) ** 2
    assert torch.allclose(rows.sum(-1), torch.ones(()), atol=1e-5)
    some = data.Split(images, data.load(DataConfig(name="digits")).test.labels[:4])
    part = data.Dataset("four", "", 10, some, some, some)
    assert 0 <= evaluate(model, part, "test", Context()).accuracy <= 1


def test_an_exported_checkpoint_is_a_weights_file(checkpoint: Checkpoint, tmp_path: Path) -> None:
    from trials.formats import save_checkpoint

    save_checkpoint(checkpoint.state, tmp_path / "w.safetensors", {"lotus_key": "k"})
    cfg = ModelConfig(
        name=checkpoint.arch.name, pretrained=tmp_path / "w.safetensors",
        kwargs=checkpoint.arch.kwargs,
    )  # fmt: skip
    made = vit.create(cfg, classes=10, channels=1, seed=None)
    assert same(made.state, checkpoint.state)
