from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from trials import data, masks, tickets, vit
from trials.data import DataConfig
from trials.errors import FormatError, ModelError
from trials.train import Context, evaluate
from trials.vit import Checkpoint, ModelConfig, Removal

KINDS: dict[str, dict[str, Any]] = {
    "cls": {},
    "avg-without-cls": {"global_pool": "avg", "class_token": False},
    "avg-with-cls": {"global_pool": "avg"},
    "registers": {"reg_tokens": 3},
    "qk-norm": {"qk_norm": True},
    "no-embed-class": {"no_embed_class": True},
}
REMOVALS: tuple[Removal, ...] = ("gather", "attention_mask", "zero", "mean")


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def kind(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.param
    return found


@pytest.fixture
def model(make_checkpoint: Callable[..., Checkpoint], cpu: torch.device) -> Callable[..., Any]:
    return lambda **extra: vit.build(make_checkpoint(**extra), cpu)


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def kept() -> Tensor:
    return tickets.indices(tickets.random_patches(5, 16, 9, torch.Generator().manual_seed(1)))


def seen_by_first_block(module: Any, run: Callable[[], object]) -> Tensor:
    seen: list[Tensor] = []
    hook = module.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    run()
    hook.remove()
    return seen[0].detach()


@torch.no_grad()
def test_a_ticket_of_all_patches_gives_the_dense_logits_bit_for_bit(
    model: Callable[..., Any], kind: dict[str, Any], x: Tensor
) -> None:
    module, every = model(**kind), torch.arange(16).expand(5, 16)
    for removal in REMOVALS:
        assert torch.equal(vit.forward(module, x, every, removal), module(x))


@torch.no_grad()
def test_gathering_equals_hiding_the_dropped_keys(
    model: Callable[..., Any], kind: dict[str, Any], x: Tensor, kept: Tensor
) -> None:
    module = model(**kind)
    gathered = vit.forward(module, x, kept)
    torch.testing.assert_close(gathered, vit.forward(module, x, kept, "attention_mask"))
    assert (gathered - module(x)).abs().max() > 1e-3, "dropping patches changes nothing here"


@torch.no_grad()
def test_the_order_of_the_gathered_tokens_does_not_matter(
    model: Callable[..., Any], kind: dict[str, Any], x: Tensor, kept: Tensor
) -> None:
    module = model(**kind)
    mixed = kept[:, torch.randperm(9, generator=torch.Generator().manual_seed(0))]
    torch.testing.assert_close(vit.forward(module, x, kept), vit.forward(module, x, mixed))


@torch.no_grad()
def test_position_is_embedded_before_the_gather_and_the_class_token_stays(
    model: Callable[..., Any], x: Tensor, kept: Tensor
) -> None:
    module = model()
    tokens = seen_by_first_block(module, lambda: vit.forward(module, x, kept))
    embedded, position = module.patch_embed(x), module.pos_embed[0]
    assert tokens.shape == (5, 1 + 9, 32)
    torch.testing.assert_close(tokens[:, 0], (module.cls_token[0, 0] + position[0]).expand(5, 32))
    for image in range(5):
        by_hand = embedded[image, kept[image]] + position[1 + kept[image]]
        torch.testing.assert_close(tokens[image, 1:], by_hand)


@torch.no_grad()
@pytest.mark.parametrize("removal", REMOVALS)
def test_dropped_pixels_cannot_change_the_logits(
    model: Callable[..., Any], x: Tensor, kept: Tensor, removal: Removal
) -> None:
    module = model()
    shown = vit.keep_matrix(kept, 16).view(5, 1, 4, 4)
    shown = shown.repeat_interleave(2, 2).repeat_interleave(2, 3)
    other = torch.where(shown, x, torch.full_like(x, 3.0))
    assert torch.equal(
        vit.forward(module, x, kept, removal), vit.forward(module, other, kept, removal)
    )
    changed = torch.where(shown, x + 1, x)
    assert not torch.equal(
        vit.forward(module, x, kept, removal), vit.forward(module, changed, kept, removal)
    )


def test_painting_uses_zero_or_the_mean_of_the_kept_pixels(model: Callable[..., Any]) -> None:
    module, kept = model(), torch.tensor([[0, 5]])
    x = torch.arange(64.0).view(1, 1, 8, 8)
    shown: dict[str, Tensor] = {}
    for removal in ("zero", "mean"):
        hook = module.register_forward_pre_hook(
            lambda _, args, removal=removal: shown.update({removal: args[0]})
        )
        vit.forward(module, x, kept, removal)  # type: ignore[arg-type]
        hook.remove()
    patches = {name: p.unfold(2, 2, 2).unfold(3, 2, 2).reshape(16, 4) for name, p in shown.items()}
    original = x.unfold(2, 2, 2).unfold(3, 2, 2).reshape(16, 4)
    for name, fill in (("zero", 0.0), ("mean", float(original[kept[0]].mean()))):
        assert torch.equal(patches[name][kept[0]], original[kept[0]])
        dropped = [i for i in range(16) if i not in (0, 5)]
        torch.testing.assert_close(patches[name][dropped], torch.full((14, 4), fill))


@torch.no_grad()
def test_recomputed_attention_equals_the_unfused_softmax(
    model: Callable[..., Any], kind: dict[str, Any], x: Tensor
) -> None:
    module = model(**kind)
    maps = vit.attention_maps(module, x, [0, -1])
    captured: list[Tensor] = []
    for block in module.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _, args, out: captured.append(args[0]))
    module(x)
    assert len(captured) == 2
    for recomputed, unfused in zip(maps, captured, strict=True):
        torch.testing.assert_close(recomputed, unfused)
        torch.testing.assert_close(recomputed.sum(-1), torch.ones(recomputed.shape[:-1]))


@torch.no_grad()
def test_unfused_and_fused_attention_give_the_same_logits(
    model: Callable[..., Any], kind: dict[str, Any], x: Tensor
) -> None:
    fused, unfused = model(**kind), model(**kind)
    for block in unfused.blocks:
        assert block.attn.fused_attn
        block.attn.fused_attn = False
    torch.testing.assert_close(fused(x), unfused(x))


@torch.no_grad()
def test_recomputed_attention_rebuilds_the_fused_output(
    model: Callable[..., Any], x: Tensor
) -> None:
    module = model()
    attn = module.blocks[1].attn
    seen: list[tuple[Tensor, Tensor]] = []
    hook = attn.register_forward_hook(lambda _, args, out: seen.append((args[0], out)))
    (map_BhNN,) = vit.attention_maps(module, x, [1])
    hook.remove()
    tokens, fused = seen[0]
    v = attn.qkv(tokens).reshape(5, 17, 3, 2, 16).permute(2, 0, 3, 1, 4)[2]
    torch.testing.assert_close(attn.proj((map_BhNN @ v).transpose(1, 2).reshape(5, 17, 32)), fused)


def test_capturing_attention_leaves_no_hook_behind(model: Callable[..., Any], x: Tensor) -> None:
    module = model()
    with torch.no_grad():
        vit.attention_maps(module, x, [0, 1, -1])
    assert not any(m._forward_pre_hooks for m in module.modules())


@pytest.mark.parametrize("block", [2, -3])
def test_a_block_that_is_not_there_is_refused(
    model: Callable[..., Any], x: Tensor, block: int
) -> None:
    with pytest.raises(ModelError, match="has blocks 0 to 1"):
        vit.attention_maps(model(), x, [block])


def test_a_module_goes_back_to_the_same_checkpoint(
    checkpoint: Checkpoint, cpu: torch.device
) -> None:
    module = vit.build(checkpoint, cpu)
    assert not module.training
    again = vit.take(module, checkpoint.arch).state
    assert all(torch.equal(again[name], tensor) for name, tensor in checkpoint.state.items())
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    assert all(torch.equal(again[name], tensor) for name, tensor in checkpoint.state.items())


def test_a_checkpoint_of_another_model_is_refused(
    checkpoint: Checkpoint, cpu: torch.device
) -> None:
    state = {n: t for n, t in checkpoint.state.items() if n != "cls_token"}
    with pytest.raises(ModelError, match="cls_token"):
        vit.build(Checkpoint(checkpoint.arch, state), cpu)


def test_random_weights_follow_from_the_seed_and_disturb_no_other_draw(
    tiny_model: Callable[..., ModelConfig],
) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first, again, other = (
        vit.create(tiny_model(), classes=10, channels=1, seed=seed).state for seed in (1, 1, 2)
    )
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_classes_and_channels_come_from_the_data_unless_the_file_says_otherwise() -> None:
    kwargs = {"img_size": 8, "patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 1}
    cfg = ModelConfig(name="vit_tiny_patch16_224", pretrained=False, kwargs=kwargs)
    made = vit.create(cfg, classes=7, channels=1, seed=0)
    assert made.state["head.weight"].shape == (7, 8)
    assert made.state["patch_embed.proj.weight"].shape == (8, 1, 4, 4)
    fixed = cfg.model_copy(update={"kwargs": kwargs | {"num_classes": 5}})
    assert vit.create(fixed, classes=7, channels=1, seed=0).state["head.bias"].shape == (5,)


def test_an_unknown_model_is_refused_with_near_names() -> None:
    cfg = ModelConfig(name="vit_smal_patch16_224", pretrained=False)
    with pytest.raises(ModelError, match=r"near it: .*vit_small_patch16_224"):
        vit.create(cfg, classes=10, channels=3, seed=0)


def test_a_model_that_is_no_vision_transformer_is_refused() -> None:
    cfg = ModelConfig(name="resnet18", pretrained=False)
    with pytest.raises(ModelError, match="is a ResNet, not a VisionTransformer"):
        vit.create(cfg, classes=10, channels=3, seed=0)


def test_wrong_model_settings_are_refused(tiny_model: Callable[..., ModelConfig]) -> None:
    for extra in ({"num_heads": 5}, {"no_such_setting": 1}):
        with pytest.raises(ModelError, match=r"model\.kwargs: timm cannot build"):
            vit.create(tiny_model(**extra), classes=10, channels=1, seed=0)


@pytest.fixture
def weights_file(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    save_file(checkpoint.state, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def test_a_weights_file_with_the_same_head_is_taken_whole(
    tiny_model: Callable[..., ModelConfig], checkpoint: Checkpoint, weights_file: Path
) -> None:
    cfg = tiny_model().model_copy(update={"pretrained": weights_file})
    made = vit.create(cfg, classes=10, channels=1, seed=None)
    assert all(torch.equal(made.state[n], t) for n, t in checkpoint.state.items())


def test_a_weights_file_with_another_head_gets_a_fresh_one(
    tiny_model: Callable[..., ModelConfig], checkpoint: Checkpoint, weights_file: Path
) -> None:
    cfg = tiny_model().model_copy(update={"pretrained": weights_file})
    made, other = (vit.create(cfg, classes=3, channels=1, seed=seed) for seed in (1, 2))
    assert made.state["head.weight"].shape == (3, 32)
    assert not torch.equal(made.state["head.weight"], other.state["head.weight"])
    same = [n for n in checkpoint.state if not n.startswith("head.")]
    assert all(torch.equal(made.state[n], checkpoint.state[n]) for n in same)


def test_a_weights_file_of_another_architecture_is_refused(
    tiny_model: Callable[..., ModelConfig], weights_file: Path
) -> None:
    cfg = tiny_model(depth=3).model_copy(update={"pretrained": weights_file})
    with pytest.raises(ModelError, match=r"12 tensors do not fit .*lacks blocks\.2"):
        vit.create(cfg, classes=10, channels=1, seed=0)


def test_a_pickled_weights_file_is_refused_unopened(
    tiny_model: Callable[..., ModelConfig], checkpoint: Checkpoint, tmp_path: Path
) -> None:
    torch.save(checkpoint.state, tmp_path / "weights.pt")
    cfg = tiny_model().model_copy(update={"pretrained": tmp_path / "weights.pt"})
    with pytest.raises(FormatError, match="cannot be read as safetensors"):
        vit.create(cfg, classes=10, channels=1, seed=0)


def test_normalisation_comes_from_the_weights_unless_given(
    tiny_model: Callable[..., ModelConfig],
) -> None:
    made = vit.create(tiny_model(), classes=10, channels=1, seed=0)
    assert (made.arch.mean, made.arch.std) == ((0.5,), (0.5,))
    cfg = tiny_model().model_copy(update={"mean": (0.1,), "std": (0.2,)})
    given = vit.create(cfg, classes=10, channels=1, seed=0)
    assert (given.arch.mean, given.arch.std) == ((0.1,), (0.2,))
    cfg = tiny_model(in_chans=3).model_copy(update={"mean": (0.1, 0.2)})
    with pytest.raises(ModelError, match="need 3 values"):
        vit.create(cfg, classes=10, channels=3, seed=0)


def test_pixels_are_scaled_normalised_and_resized(checkpoint: Checkpoint) -> None:
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 8, 8)
    x = vit.preprocess(images, checkpoint.arch, (8, 8))
    assert torch.equal(x, torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 8, 8))
    assert vit.preprocess(images, checkpoint.arch, (12, 16)).shape == (2, 1, 12, 16)


@pytest.mark.parametrize(
    ("name", "prunable", "whole"),
    [
        ("vit_tiny_patch16_224", 5_308_416, 5_526_346),
        ("vit_small_patch16_224", 21_233_664, 21_669_514),
        ("vit_base_patch16_224", 84_934_656, 85_806_346),
    ],
)
def test_the_prunable_set_has_the_published_size(name: str, prunable: int, whole: int) -> None:
    with torch.device("meta"):
        cfg = ModelConfig(name=name, pretrained=False)
        state = vit.create(cfg, classes=10, channels=3, seed=0).state
    assert masks.size(masks.prunable(state)) == prunable
    assert len(masks.prunable(state)) == 48
    assert masks.size(state) == whole


def test_shape_is_read_off_the_model_without_its_weights() -> None:
    shape = vit.shape_of("vit_small_patch16_224", {"num_classes": 10})
    assert (shape.patches, shape.prefix, shape.depth, shape.width) == (196, 1, 12, 384)
    assert (shape.hidden, shape.patch_inputs) == (1536, 768)


def test_downloaded_weights_are_known_by_their_name_in_timm() -> None:
    plain, other = (
        vit.hub_identity(name) for name in ("vit_small_patch16_224", "deit_small_patch16_224")
    )
    assert "augreg" in plain
    assert plain != other
    without = "vit_base_patch16_18x2_224"
    assert without in timm.list_models()
    with pytest.raises(ModelError, match="has no weights of"):
        vit.hub_identity(without)


def test_masking_a_checkpoint_leaves_the_original_alone(
    checkpoint: Checkpoint, half: masks.KeepMask, cpu: torch.device
) -> None:
    before = {name: tensor.clone() for name, tensor in checkpoint.state.items()}
    pruned = vit.masked(checkpoint, half)
    assert all(torch.equal(checkpoint.state[n], t) for n, t in before.items())
    named = dict(vit.build(pruned, cpu).named_parameters())
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in named.values())
    assert not any(named[n][~keep].any() for n, keep in half.items())


@torch.no_grad()
def test_a_mask_that_keeps_everything_gives_the_dense_logits_bit_for_bit(
    checkpoint: Checkpoint, cpu: torch.device, x: Tensor
) -> None:
    everything = masks.ones_like(masks.prunable(checkpoint.state))
    masked = vit.build(vit.masked(checkpoint, everything), cpu)
    assert torch.equal(masked(x), vit.build(checkpoint, cpu)(x))


def test_the_real_weights_load_and_classify_real_images(
    vit_weights: Path, cifar10_root: Path, cpu: torch.device
) -> None:
    kwargs = {"img_size": 32, "patch_size": 4, "embed_dim": 128, "depth": 4, "num_heads": 4}
    cfg = ModelConfig(
        name="vit_tiny_patch16_224",
        pretrained=vit_weights,
        kwargs=kwargs | {"mlp_ratio": 2},
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
    )
    made = vit.create(cfg, classes=10, channels=3, seed=None)
    assert masks.size(masks.prunable(made.state)) == 524_288
    assert masks.size(made.state) == 546_186
    whole = data.load(DataConfig(name="cifar10", root=cifar10_root))
    part = data.Split(whole.test.images[:1000], whole.test.labels[:1000])
    slice_ = data.Dataset("slice", "", 10, part, part, part)
    accuracy = evaluate(vit.build(made, cpu), made.arch, slice_, "test", Context()).accuracy
    # 74.55 % of all 10,000; three standard errors of 1,000 images are 4 points.
    assert accuracy == pytest.approx(0.7455, abs=0.042)
