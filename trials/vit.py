"""The only contact with timm: create, capture attention, forward on kept patches.

Shapes: B batch, C channels, H W pixels, P patches, K kept patches, N tokens, h heads, d width.
"""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from trials import masks
from trials.errors import ModelError
from trials.formats import load_checkpoint
from trials.masks import KeepMask
from trials.seeding import global_seed
from trials.stage import StageConfig

Module = Any
"""A timm VisionTransformer. timm is not typed, and importing its class here costs seconds."""

Removal = Literal["gather", "zero", "mean", "attention_mask"]


class ModelConfig(StageConfig):
    """A timm vision transformer and where its weights come from."""

    name: str = Field(description="any timm VisionTransformer, e.g. vit_small_patch16_224")
    pretrained: bool | Path = Field(
        True, description="true: timm's weights; false: random; or the path of a safetensors file"
    )
    kwargs: dict[str, Any] = Field(default_factory=dict, description="passed to timm.create_model")
    mean: tuple[float, ...] | None = Field(
        None, description="per channel, of pixels in [0, 1]; default: the weights' pretrained_cfg"
    )
    std: tuple[float, ...] | None = Field(None, description="like mean")

    @field_validator("pretrained")
    @classmethod
    def _absolute(cls, pretrained: bool | Path) -> bool | Path:
        """Workers run in other folders: a relative path means this working directory."""
        return pretrained if isinstance(pretrained, bool) else pretrained.expanduser().absolute()


@dataclass(frozen=True, slots=True)
class Arch:
    """Everything that rebuilds a model and feeds it, weights apart."""

    name: str
    kwargs: dict[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model as data: architecture and weights under timm's parameter names."""

    arch: Arch
    state: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Shape:
    """What the cost of a forward pass depends on."""

    grid: tuple[int, int]
    prefix: int
    depth: int
    width: int
    hidden: int
    patch_inputs: int

    @property
    def patches(self) -> int:
        """Patches of a whole image."""
        return self.grid[0] * self.grid[1]


def create(cfg: ModelConfig, *, classes: int, channels: int, seed: int | None) -> Checkpoint:
    """Build a model and take its weights out.

    A weights file whose head has another number of classes gets a fresh head.

    Args:
        classes: of the data set; `kwargs.num_classes` overrides it.
        channels: of the images; `kwargs.in_chans` overrides it.
        seed: of all random weights (the head, or everything).

    Raises:
        ModelError: unknown name, unusable kwargs, not a VisionTransformer, or weights that do
            not fit or cannot be had.
    """
    kwargs = {"num_classes": classes, "in_chans": channels} | cfg.kwargs
    hub = cfg.pretrained is True
    with global_seed(seed or 0, "weights"):
        model = _timm(cfg.name, pretrained=hub, **kwargs)
    if isinstance(cfg.pretrained, Path):
        _load_file(model, cfg.pretrained)
    found = model.pretrained_cfg
    arch = Arch(
        name=cfg.name,
        kwargs=kwargs,
        mean=_per_channel(cfg.mean or found["mean"], kwargs["in_chans"]),
        std=_per_channel(cfg.std or found["std"], kwargs["in_chans"]),
    )
    return Checkpoint(arch, {n: t.detach().clone() for n, t in model.state_dict().items()})


def _timm(name: str, *, pretrained: bool, **kwargs: Any) -> Module:
    # Imported here, not above: it takes seconds, and whoever only plans does not need it.
    import timm
    from timm.models.vision_transformer import VisionTransformer

    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise ModelError(f"model.name = {name}: timm {timm.__version__} has no such model{hint}")
    try:
        model = timm.create_model(name, pretrained=pretrained, **kwargs)
    except (TypeError, AssertionError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"model.kwargs: timm cannot build {name} from {kwargs}: {error}"
        ) from error
    except (OSError, ImportError) as error:
        raise ModelError(
            f"model.pretrained: the weights of {name} cannot be fetched ({error}). Without a "
            "network, name a safetensors file or set HF_HOME to a filled cache."
        ) from error
    if not isinstance(model, VisionTransformer):
        raise ModelError(
            f"model.name = {name} is a {type(model).__name__}, not a VisionTransformer"
        )
    return model


def _load_file(model: nn.Module, path: Path) -> None:
    state = load_checkpoint(path)
    own = model.state_dict()
    for name in ("head.weight", "head.bias"):
        if name in state and name in own and state[name].shape != own[name].shape:
            state[name] = own[name]
    problems = [f"lacks {name}" for name in own.keys() - state.keys()]
    problems += [f"has {name}, which the model has not" for name in state.keys() - own.keys()]
    problems += [
        f"{name} is {tuple(state[name].shape)}, the model's is {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if state[name].shape != own[name].shape
    ]
    if problems:
        listed = "; ".join(sorted(problems)[:4])
        raise ModelError(
            f"model.pretrained = {path}: {len(problems)} tensors do not fit ({listed}). "
            "Check `model.kwargs`."
        )
    model.load_state_dict(state)


def _per_channel(values: Sequence[float], channels: int) -> tuple[float, ...]:
    if len(values) == channels:
        return tuple(float(v) for v in values)
    if channels == 1 or len(values) == 1:
        return (sum(values) / len(values),) * channels
    raise ModelError(f"model.mean and model.std need {channels} values, one per channel")


def build(checkpoint: Checkpoint, device: torch.device) -> Module:
    """A fresh module with the checkpoint's weights, in eval mode on `device`."""
    with torch.device("meta"):
        model = _timm(checkpoint.arch.name, pretrained=False, **checkpoint.arch.kwargs)
    missing = model.state_dict().keys() ^ checkpoint.state.keys()
    if missing:
        raise ModelError(f"the checkpoint does not fit {checkpoint.arch.name}: {sorted(missing)}")
    model.load_state_dict({n: t.clone() for n, t in checkpoint.state.items()}, assign=True)
    return model.to(device).requires_grad_(True).eval()


def take(module: Module, arch: Arch) -> Checkpoint:
    """The weights of a module, on the CPU, as a checkpoint."""
    return Checkpoint(arch, {n: t.detach().cpu().clone() for n, t in module.state_dict().items()})


def masked(checkpoint: Checkpoint, keep: KeepMask) -> Checkpoint:
    """A copy with exactly 0 where the mask does not keep."""
    return Checkpoint(checkpoint.arch, masks.apply(checkpoint.state, keep))


def shape_of(name: str, kwargs: Mapping[str, Any]) -> Shape:
    """The shape of a timm model, without allocating its weights."""
    with torch.device("meta"):
        model = _timm(name, pretrained=False, **kwargs)
    return Shape(
        grid=tuple(model.patch_embed.grid_size),
        prefix=model.num_prefix_tokens,
        depth=len(model.blocks),
        width=model.embed_dim,
        hidden=model.blocks[0].mlp.fc1.out_features,
        patch_inputs=model.patch_embed.proj.weight[0].numel(),
    )


def input_size(model: Module) -> tuple[int, int]:
    """Height and width in pixels that the model expects."""
    height, width = model.patch_embed.img_size
    return int(height), int(width)


def preprocess(images: Tensor, arch: Arch, size: tuple[int, int]) -> Tensor:
    """uint8 (B, C, H, W) -> float32 (B, C, *size): resized (bicubic, antialias), normalised."""
    x = images.float() / 255.0
    if tuple(x.shape[-2:]) != size:
        x = F.interpolate(x, size=size, mode="bicubic", antialias=True, align_corners=False)
        x = x.clamp_(0.0, 1.0)
    mean = torch.tensor(arch.mean, device=x.device).view(1, -1, 1, 1)
    std = torch.tensor(arch.std, device=x.device).view(1, -1, 1, 1)
    return (x - mean) / std


def forward(
    model: Module, x: Tensor, kept_BK: Tensor | None = None, removal: Removal = "gather"
) -> Tensor:
    """Logits of images of which only the kept patches are seen.

    Args:
        x: preprocessed images (B, C, H, W).
        kept_BK: int64 patch indices, ascending, the same count for every image; None = all.
            A ticket of all patches takes the same path, so the two agree bit for bit.
        removal: `gather` takes the kept tokens after the position embedding, so that the
            sequence really is shorter (class and register tokens stay); `attention_mask` keeps
            all tokens and lets nobody attend to a dropped one (the same logits, no saving);
            `zero` and `mean` paint the pixels of dropped patches: with 0 (the mean colour after
            normalisation) or with the mean of the image's kept pixels.

    Returns:
        (B, classes) float32 or the autocast type.

    Source: EViT and the Data-LTH code gather; LOTUS does not say.
    """
    if kept_BK is None or kept_BK.shape[1] == model.patch_embed.num_patches:
        return model(x)  # type: ignore[no-any-return]
    if removal in ("zero", "mean"):
        return model(_paint(model, x, kept_BK, removal))  # type: ignore[no-any-return]
    tokens = model._pos_embed(model.patch_embed(x))
    prefix = model.num_prefix_tokens
    if removal == "gather":
        tokens = gather_tokens(tokens, kept_BK, prefix)
        return model.forward_head(_blocks(model, tokens, None))  # type: ignore[no-any-return]
    seen = torch.ones(tokens.shape[:2], dtype=torch.bool, device=x.device)
    seen[:, prefix:] = keep_matrix(kept_BK, tokens.shape[1] - prefix)
    features = _blocks(model, tokens, seen[:, None, None, :])
    if model.global_pool not in ("token", ""):
        features = gather_tokens(features, kept_BK, prefix)
    return model.forward_head(features)  # type: ignore[no-any-return]


def _blocks(model: Module, tokens: Tensor, mask: Tensor | None) -> Tensor:
    x = model.norm_pre(model.patch_drop(tokens))
    for block in model.blocks:
        x = block(x) if mask is None else block(x, attn_mask=mask)
    return model.norm(x)  # type: ignore[no-any-return]


def gather_tokens(tokens_BNd: Tensor, kept_BK: Tensor, prefix: int) -> Tensor:
    """(B, prefix + K, d): the prefix tokens and the kept patches, in order."""
    index = kept_BK.unsqueeze(-1).expand(-1, -1, tokens_BNd.shape[-1]) + prefix
    return torch.cat([tokens_BNd[:, :prefix], tokens_BNd.gather(1, index)], dim=1)


def keep_matrix(kept_BK: Tensor, patches: int) -> Tensor:
    """Patch indices int64 (B, K) -> bool (B, P)."""
    keep = torch.zeros(len(kept_BK), patches, dtype=torch.bool, device=kept_BK.device)
    return keep.scatter_(1, kept_BK, True)


def _paint(model: Module, x: Tensor, kept_BK: Tensor, removal: Removal) -> Tensor:
    rows, columns = model.patch_embed.grid_size
    keep = keep_matrix(kept_BK, rows * columns).view(-1, 1, rows, columns).to(x.dtype)
    pixels = F.interpolate(keep, size=x.shape[-2:], mode="nearest")
    if removal == "zero":
        return x * pixels
    mean = (x * pixels).sum((2, 3), keepdim=True) / pixels.sum((2, 3), keepdim=True)
    return x * pixels + mean * (1 - pixels)


def attention_maps(model: Module, x: Tensor, blocks: Sequence[int]) -> list[Tensor]:
    """Softmax attention of the named blocks, recomputed from q and k.

    timm's fused attention exposes no map, and hooks on `attn_drop` never fire.

    Args:
        x: preprocessed images (B, C, H, W).
        blocks: block numbers; negative ones count from the end.

    Returns:
        Per block (B, h, N, N) float32; rows sum to 1.

    Raises:
        ModelError: there is no such block, or its attention is not timm's standard one.
    """
    depth = len(model.blocks)
    if bad := [b for b in blocks if not -depth <= b < depth]:
        raise ModelError(f"tickets.block = {bad[0]}: the model has blocks 0 to {depth - 1}")
    captured: dict[int, Tensor] = {}
    hooks = []
    for block in {b % depth for b in blocks}:
        module = model.blocks[block].attn
        if not hasattr(module, "qkv"):
            raise ModelError(f"block {block} has {type(module).__name__}, which gives no q and k")

        def keep(_: nn.Module, args: tuple[Tensor, ...], *, block: int = block) -> None:
            captured[block] = _attention(model.blocks[block].attn, args[0])

        hooks.append(module.register_forward_pre_hook(keep))
    try:
        model.forward_features(x)
    finally:
        for hook in hooks:
            hook.remove()
    return [captured[b % depth] for b in blocks]


def _attention(module: Any, x_BNd: Tensor) -> Tensor:
    batch, tokens, _ = x_BNd.shape
    qkv = module.qkv(x_BNd).reshape(batch, tokens, 3, module.num_heads, -1).permute(2, 0, 3, 1, 4)
    q, k = module.q_norm(qkv[0]), module.k_norm(qkv[1])
    scores: Tensor = (q * module.scale) @ k.transpose(-2, -1)
    return scores.float().softmax(-1)


def hub_identity(name: str) -> str:
    """What names timm's weights of a model: tag, repository and file, not the download."""
    import timm

    if not timm.is_model(name):
        return name
    found = timm.models.get_pretrained_cfg(name)
    if found is None or not found.has_weights:
        raise ModelError(
            f"model.pretrained = true, but timm {timm.__version__} has no weights of {name}; "
            "name a safetensors file, or write false"
        )
    fields = dataclasses.asdict(found)
    return "|".join(str(fields.get(k)) for k in ("architecture", "tag", "url", "hf_hub_id", "file"))
