"""ToMe: in every block the r most alike pairs of tokens merge between attention and MLP.

Shapes: B batch, N tokens (p prefix tokens first), c width of a head, d width, r merged away.

Source: Bolya et al., ICLR 2023. Places count from the start of the sequence, so that with one
prefix token the two sets are those of its code; no prefix token ever merges, registers neither.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trials.lazy import F, torch
from trials.reduction.config import ReductionConfig
from trials.reduction.sampled import needed
from trials.reduction.state import NOTHING, Module, Reducer, Seen, State, Want, take
from trials.tokens.tickets import PAD

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Matching:
    """Who merges with whom, as places in the sequence, prefix tokens counted.

    Attributes:
        unmerged: int64 (B, ·), even places of patches that stay, ascending.
        source: int64 (B, r), even places of those that merge.
        target: int64 (B, r), odd places: into whom; some several times.
        prefix: p.
    """

    unmerged: Tensor
    source: Tensor
    target: Tensor
    prefix: int

    def survivors(self, tokens: int) -> Tensor:
        """int64 (B, N - r): the prefix, the even places that stay, the odd ones.

        Args:
            tokens: N.
        """
        device, batch = self.source.device, len(self.source)
        numbers = torch.arange(tokens, device=device).expand(batch, -1)
        odd = numbers[:, first_odd(self.prefix) :: 2]
        return torch.cat([numbers[:, : self.prefix], self.unmerged, odd], 1)


def first_odd(prefix: int) -> int:
    """The first odd place that is a patch's."""
    return prefix + 1 - prefix % 2


def match(metric_BNc: Tensor, r: int, prefix: int) -> Matching:
    """Pair even places with odd ones by the cosine of a metric; the r best pairs merge.

    Every even place points to the odd one that is most like it; several may point to one. Ties go
    to the earlier place. Nothing here carries a gradient.

    Args:
        metric_BNc: mean of the keys over heads.
        r: 1..(N - p) // 2.

    Raises:
        ValueError: `r` is out of range.
    """
    with torch.no_grad(), torch.autocast(metric_BNc.device.type, enabled=False):
        unit = F.normalize(metric_BNc.detach().float(), dim=-1)
        cosine = unit[:, 0::2] @ unit[:, 1::2].transpose(1, 2)
        # Prefix tokens are taken for targets by nobody; as sources they are left out below.
        cosine[:, :, : prefix // 2] = -torch.inf
        nearest = cosine.max(2)
        return pairs(nearest.values, 2 * nearest.indices + 1, r, metric_BNc.shape[1], prefix)


def pairs(scores: Tensor, targets: Tensor, r: int, tokens: int, prefix: int) -> Matching:
    """The r even places with the highest scores merge, each into its target.

    Args:
        scores: (B, even places), those of prefix tokens included and not read.
        targets: int64, the same shape: odd places.
        r: 1..(N - p) // 2.
        tokens: N.

    Raises:
        ValueError: `r` is out of range.
    """
    if not 1 <= r <= (tokens - prefix) // 2:
        raise ValueError(f"cannot merge {r} of {tokens - prefix} tokens")
    own = (prefix + 1) // 2
    order = own + scores[:, own:].sort(dim=1, descending=True, stable=True).indices
    merged, unmerged = order[:, :r], order[:, r:].sort(1).values
    return Matching(2 * unmerged, 2 * merged, targets.gather(1, merged), prefix)


def random_match(noise_Bn2: Tensor, r: int, prefix: int) -> Matching:
    """Chance in place of likeness: r random even places, each into a random odd one.

    Args:
        noise_Bn2: in [0, 1), a pair of numbers for each token but the prefix.

    Raises:
        ValueError: `r` is out of range.
    """
    tokens = prefix + noise_Bn2.shape[1]
    own, first = (prefix + 1) // 2, first_odd(prefix)
    even = F.pad(noise_Bn2[:, 2 * own - prefix :: 2], (0, 0, own, 0))
    odd = len(range(first, tokens, 2))
    # A number just below 1 may be rounded up to `odd` itself.
    chosen = (even[..., 1] * odd).long().clamp_max(odd - 1)
    return pairs(even[..., 0], first + 2 * chosen, r, tokens, prefix)


def merge(x_BNd: Tensor, size_BN1: Tensor | None, matching: Matching) -> tuple[Tensor, Tensor]:
    """Merged tokens are the means of their patches; all others stay as they are.

    Args:
        size_BN1: patches that a token stands for; None = one each.

    Returns:
        Tokens (B, N - r, d) and their sizes (B, N - r, 1) float32, in the order of `survivors`.
    """
    size = torch.ones_like(x_BNd[..., :1], dtype=torch.float32) if size_BN1 is None else size_BN1
    weighted = torch.cat([x_BNd.float() * size, size], -1)
    total = add_at(weighted, matching.target, take(weighted, matching.source))
    patches = total[..., -1:]
    merged = torch.where(patches > size, (total[..., :-1] / patches).to(x_BNd.dtype), x_BNd)
    left = matching.survivors(x_BNd.shape[1])
    return take(merged, left), take(patches, left)


def add_at(base_BNd: Tensor, target_Br: Tensor, parts_Brd: Tensor) -> Tensor:
    """`base` with each part added at its target, of which several may be the same.

    A GPU that has to be deterministic multiplies, because it adds in any order.
    """
    if base_BNd.device.type != "cpu" and torch.are_deterministic_algorithms_enabled():
        return add_by_product(base_BNd, target_Br, parts_Brd)
    batch, tokens, _ = base_BNd.shape
    rows = target_Br + tokens * torch.arange(batch, device=target_Br.device)[:, None]
    added = base_BNd.flatten(0, 1).index_add(0, rows.flatten(), parts_Brd.flatten(0, 1))
    return added.view(base_BNd.shape)


def add_by_product(base_BNd: Tensor, target_Br: Tensor, parts_Brd: Tensor) -> Tensor:
    """`add_at` without an addition whose order is open: by one product with ones and zeros."""
    hot = F.one_hot(target_Br, base_BNd.shape[1]).to(base_BNd.dtype)
    return base_BNd + hot.transpose(1, 2) @ parts_Brd


@dataclass(frozen=True, slots=True)
class Merging(Reducer):
    """The reducer.

    Attributes:
        merges: r of every block; less where fewer tokens are there.
    """

    config: ReductionConfig
    merges: tuple[int, ...]

    def wants(self, block: int) -> frozenset[Want]:
        """The keys, where tokens merge by them."""
        by_keys = self.config.metric == "keys" and self.merges[block] > 0
        return frozenset({"keys"}) if by_keys else NOTHING

    def bias(self, block: int, state: State) -> Tensor | None:
        """log size of every key: a token of several patches is as good as all of them."""
        if state.size is None or not self.config.prop_attn:
            return None
        return state.size[..., 0].log()[:, None, None, :]

    def between(self, block: int, x: Tensor, seen: Seen, state: State) -> tuple[Tensor, State]:
        """The prefix, the even ones that stay, the odd ones."""
        there = x.shape[1] - self.prefix
        r = min(self.merges[block], there // 2)
        if r == 0:
            return x, state
        if seen.keys is not None:
            matching = match(seen.keys, r, self.prefix)
        else:
            matching = random_match(needed(state)[:, block, :there].to(x.device), r, self.prefix)
        places = F.pad(state.places, (self.prefix, 0), value=PAD)
        left = matching.survivors(x.shape[1])
        if self.config.merge == "drop":
            places = take(places, left)[:, self.prefix :]
            return take(x, left), replace(state, places=places)
        merged, size = merge(x, state.size, matching)
        places = take(places.scatter(1, matching.target, PAD), left)[:, self.prefix :]
        return merged, replace(state, places=places, size=size)


def reducer(config: ReductionConfig, model: Module) -> Reducer:
    """Of a model that has passed `trials.reduction.refusals`."""
    return Merging(
        prefix=model.num_prefix_tokens, config=config, merges=config.merges(len(model.blocks))
    )
