"""The blocks of a vision transformer, each in its two halves, and a reducer between them.

Shapes: B batch, C channels, H W pixels, P patches, K patches that enter, N tokens now in the
sequence (p prefix tokens first), h heads, c width of a head, d width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trials.lazy import F, torch
from trials.reduction.dynamicvit import policy_attention
from trials.reduction.state import NOTHING, Module, Reducer, Seen, State, Want, take

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Walked:
    """What a forward pass gives.

    Attributes:
        logits: (B, classes).
        features: (B, N, d) after the last norm, N being what is left.
        state: after the last block; None where the model ran as it is.
    """

    logits: Tensor
    features: Tensor | None
    state: State | None


def forward(
    model: Module,
    x: Tensor,
    reducer: Reducer | None,
    kept_BK: Tensor | None = None,
    noise: Tensor | None = None,
) -> Walked:
    """Images through the model, tokens leaving on the way.

    Args:
        x: preprocessed images (B, C, H, W).
        reducer: of `trials.reduction.reducer_of`; None = `model(x)`, bit for bit.
        kept_BK: int64 patch indices, ascending, as many in every row: the patches that enter,
            gathered after the position embedding; None = all.
        noise: (B, stages, P, 2) in [0, 1), where the reducer draws: see `trials.reduction.sampled`.

    Raises:
        ValueError: the reducer draws and there is no noise, or a stage would keep nothing.
    """
    if reducer is None and kept_BK is None:
        return Walked(model(x), None, None)
    tokens, state = embedded(model, x, kept_BK, noise)
    features, state = run_blocks(model, tokens, reducer, state)
    return Walked(head(model, features, state), features, state)


def embedded(
    model: Module, x: Tensor, kept_BK: Tensor | None = None, noise: Tensor | None = None
) -> tuple[Tensor, State]:
    """Tokens (B, p + K, d) as they enter the first block, and their state; see `forward`."""
    tokens = model._pos_embed(model.patch_embed(x))
    prefix, batch = model.num_prefix_tokens, len(tokens)
    if kept_BK is None:
        places = torch.arange(tokens.shape[1] - prefix, device=tokens.device).expand(batch, -1)
    else:
        places = kept_BK
        tokens = torch.cat([tokens[:, :prefix], take(tokens[:, prefix:], kept_BK)], 1)
    return tokens, State(places, entered=places.shape[1], noise=noise)


def run_blocks(
    model: Module, tokens: Tensor, reducer: Reducer | None, state: State
) -> tuple[Tensor, State]:
    """From embedded tokens to the last norm.

    Args:
        tokens: (B, p + K, d), positions added.
        reducer: None = timm's own blocks; else the model has passed `trials.reduction.refusals`.
        state: of the tokens as they enter.

    Returns:
        Features (B, N, d) of the tokens that are left, and their state.
    """
    x = model.norm_pre(model.patch_drop(tokens))
    for number, block in enumerate(model.blocks):
        if reducer is None:
            x = block(x)
            continue
        x, state = reducer.before(number, x, state)
        mixed, seen = attend(
            block.attn,
            block.norm1(x),
            bias=reducer.bias(number, state),
            policy=state.policy,
            wants=reducer.wants(number),
        )
        x = x + block.drop_path1(block.ls1(mixed))
        x, state = reducer.between(number, x, seen, state)
        x = x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
    return model.norm(x), state


def attend(
    attn: Module,
    x_BNd: Tensor,
    *,
    bias: Tensor | None = None,
    policy: Tensor | None = None,
    wants: frozenset[Want] = NOTHING,
) -> tuple[Tensor, Seen]:
    """What timm's attention computes, and what its fused kernels do not show.

    Args:
        attn: timm's `Attention`, without a gate.
        bias: added to the logits, broadcast to (B, h, N, N).
        policy: see `State`; (B, N).
        wants: what to show.

    Returns:
        (B, N, d) after the projection, and what is wanted of `Seen`.
    """
    batch, tokens, _ = x_BNd.shape
    parts = attn.qkv(x_BNd).view(batch, tokens, 3, attn.num_heads, attn.head_dim)
    q, k, v = (part.transpose(1, 2) for part in parts.unbind(2))
    q, k = attn.q_norm(q), attn.k_norm(k)
    if policy is None:
        mixed = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=None if bias is None else bias.to(q.dtype),
            dropout_p=attn.attn_drop.p if attn.training else 0.0,
        )
    else:
        scores = (q * attn.scale) @ k.transpose(-2, -1)
        rows = policy_attention(scores if bias is None else scores + bias, policy)
        mixed = attn.attn_drop(rows).to(v.dtype) @ v
    mixed = attn.norm(mixed.transpose(1, 2).reshape(batch, tokens, -1))
    seen = Seen(
        cls=_class_row(q, k, attn.scale, bias) if "cls" in wants else None,
        keys=k.float().mean(1) if "keys" in wants else None,
    )
    return attn.proj_drop(attn.proj(mixed)), seen


def _class_row(q: Tensor, k: Tensor, scale: float, bias: Tensor | None) -> Tensor:
    """(B, N) float32: the first query's softmax, mean over heads. One row, not the whole map."""
    with torch.autocast(q.device.type, enabled=False):
        row = (q[:, :, :1].float() * scale) @ k.float().transpose(-2, -1)
        if bias is not None:
            row = row + bias[..., :1, :]
        return row.softmax(-1).mean(1)[:, 0]


def head(model: Module, features: Tensor, state: State) -> Tensor:
    """Logits (B, classes); a pooling head weighs merged tokens by the patches in them."""
    if state.size is None or model.global_pool == "token":
        return model.forward_head(features)  # type: ignore[no-any-return]
    start = 0 if model.pool_include_prefix else model.num_prefix_tokens
    x, size = features[:, start:], state.size[:, start:]
    mean = (x * size).sum(1) / size.sum(1)
    if model.global_pool == "avg":
        pooled = mean
    else:
        top = x.amax(1)
        pooled = top if model.global_pool == "max" else 0.5 * (top + mean)
    return model.head(model.head_drop(model.fc_norm(pooled)))  # type: ignore[no-any-return]
