"""DynamicViT: small predictors say which patches go on, before some of the blocks.

In training every token stays in the sequence and a dropped one is hidden from the attention, so
that the loss tells the predictors what it would have been worth. At inference the best are
gathered.

Shapes: B batch, N tokens (p prefix tokens first), n patches, h heads, d width.

Source: Rao et al., NeurIPS 2021.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trials.lazy import F, torch
from trials.reduction.config import ReductionConfig
from trials.reduction.sampled import needed
from trials.reduction.state import Module, Reducer, State, best, take_patches
from trials.reduction.tokens import kept_patches
from trials.seeding import global_seed

if TYPE_CHECKING:
    from torch import Tensor, nn

LITTLE = 1e-6
"""Keeps attention and means finite where all patches are dropped."""

LARGEST = 13.8
"""How far, in logits, a hidden token may stand above the visible ones: e^13.8 is 1 / LITTLE. More
would tell the predictor nothing, and its exponential is not finite from 89 on."""


def predictor(width: int) -> nn.ModuleDict:
    """The module of one stage: LayerNorm, Linear, GELU; then three Linears that narrow down.

    Its weights come from torch's global generator: normal of 0.02, biases 0.

    Args:
        width: d, a multiple of 4.
    """
    nn = torch.nn
    inner = nn.Sequential(nn.LayerNorm(width, eps=1e-5), nn.Linear(width, width), nn.GELU())
    outer = nn.Sequential(
        nn.Linear(width, width // 2),
        nn.GELU(),
        nn.Linear(width // 2, width // 4),
        nn.GELU(),
        nn.Linear(width // 4, 2),
    )
    for layer in (*inner, *outer):
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
    return nn.ModuleDict({"inner": inner, "outer": outer})


def predictors(width: int, stages: int, seed: int) -> nn.ModuleList:
    """One predictor per stage, random by the seed only."""
    with global_seed(seed, "predictors"):
        return torch.nn.ModuleList(predictor(width) for _ in range(stages))


def log_shares(predictor: Module, x_Bnd: Tensor, decision_Bn: Tensor) -> Tensor:
    """log π, (B, n, 2) float32: of keeping each patch (first) and of dropping it.

    Half of what a predictor makes of a patch is compared with the mean of the other half over the
    patches that are kept so far.

    Args:
        x_Bnd: without prefix tokens.
        decision_Bn: 1 = kept so far. With none kept the mean is 0, not 0 / 0.
    """
    local, other = predictor["inner"](x_Bnd).chunk(2, dim=-1)
    kept = decision_Bn[..., None].to(other.dtype)
    everywhere = (other * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True).clamp_min(LITTLE)
    both = torch.cat([local, everywhere.expand_as(local)], -1)
    return predictor["outer"](both).float().log_softmax(-1)  # type: ignore[no-any-return]


def keep_scores(log_shares_Bn2: Tensor) -> Tensor:
    """(B, n): by what patches are ranked at inference, log π of keeping."""
    return log_shares_Bn2[..., 0]


def decide(log_shares_Bn2: Tensor, noise_Bn2: Tensor, before_Bn: Tensor, tau: float) -> Tensor:
    """Keep or drop by chance, with the gradient of the chance itself (straight-through).

    Args:
        noise_Bn2: uniform in [0, 1); becomes Gumbel noise.
        before_Bn: decisions so far; what has been dropped stays dropped.
        tau: temperature.

    Returns:
        (B, n), exactly 0 or 1.
    """
    uniform = noise_Bn2.float().clamp(1e-20, 1 - 1e-7)
    soft = ((log_shares_Bn2 - (-uniform.log()).log()) / tau).softmax(-1)[..., 0]
    hard = (soft >= 0.5).to(soft.dtype)
    return (hard + (soft - soft.detach())) * before_Bn


def policy_attention(scores_BhNN: Tensor, policy_BN: Tensor, little: float = LITTLE) -> Tensor:
    """Softmax in which dropped tokens are seen by themselves only, open to the policy's gradient.

    exp(scores) G / Σ exp(scores) G with G = policy of the key, and 1 on the diagonal. A logit of
    minus infinity would give the same rows and no gradient at the dropped ones.

    Args:
        scores_BhNN: query, key.
        policy_BN: 0 or 1.
        little: / N is added above, and once below.

    Returns:
        (B, h, N, N) float32; rows sum to 1.
    """
    tokens = policy_BN.shape[1]
    with torch.autocast(scores_BhNN.device.type, enabled=False):
        scores, policy = scores_BhNN.float(), policy_BN.float()[:, None, None, :]
        own = torch.eye(tokens, device=scores.device)
        visible = policy + (1 - policy) * own
        top = scores.detach().masked_fill(visible <= 0, -torch.inf).amax(-1, keepdim=True)
        weights = (scores - top).clamp_max(LARGEST).exp() * visible
        return (weights + little / tokens) / (weights.sum(-1, keepdim=True) + little)


@dataclass(frozen=True, slots=True)
class Predicting(Reducer):
    """The reducer: hides in training mode, gathers otherwise.

    Attributes:
        stages: the blocks before which patches leave.
        whole: patches of the model's grid.
        predictors: one per stage; their mode is the reducer's.
    """

    config: ReductionConfig
    stages: tuple[int, ...]
    whole: int
    predictors: nn.ModuleList

    def before(self, block: int, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Patches as the stage's predictor would have them."""
        if block not in self.stages:
            return x, state
        stage, patches = self.stages.index(block), x[:, self.prefix :]
        so_far = state.decisions[-1] if state.decisions else patches.new_ones(patches.shape[:2])
        shares = log_shares(self.predictors[stage], patches, so_far)
        if self.predictors.training:
            return x, self._hidden(shares, stage, so_far, state)
        count = kept_patches(
            self.config, block, stage, patches.shape[1], whole=self.whole, entered=state.entered
        )
        return take_patches(x, state, best(keep_scores(shares), count), self.prefix)

    def _hidden(self, shares: Tensor, stage: int, so_far: Tensor, state: State) -> State:
        drawn = needed(state)[:, stage].to(shares.device)
        noise = drawn.gather(1, state.places[..., None].expand(-1, -1, 2))
        decision = decide(shares, noise, so_far, self.config.tau)
        policy = F.pad(decision, (self.prefix, 0), value=1.0)
        return replace(state, policy=policy, decisions=(*state.decisions, decision))


def reducer(config: ReductionConfig, model: Module) -> Reducer:
    """Of a model that has passed `trials.reduction.refusals` and carries `model.reducer`."""
    return Predicting(
        prefix=model.num_prefix_tokens,
        config=config,
        stages=config.stages(len(model.blocks)),
        whole=model.patch_embed.num_patches,
        predictors=model.reducer,
    )
