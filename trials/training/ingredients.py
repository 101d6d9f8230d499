"""What the ingredients of a soup have given so far: gathered one by one, saved in between."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trials.errors import FormatError
from trials.formats import pack, unpack
from trials.lazy import torch
from trials.sparsity import masks
from trials.sparsity.masks import KeepMask
from trials.training.snapshots import MisfitError, State, check_like, cut, read_number

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Soup:
    """What all ingredients of a round have in common, and what a saved state has to fit.

    Attributes:
        settings: plain values, the seed included.
        parent: the mask in which all candidates lie.
        counts: weights that each ingredient keeps.
        mean_of: the weights that all start from, where their mean is asked for; otherwise empty.
    """

    settings: Mapping[str, Any]
    parent: KeepMask
    counts: Sequence[int]
    mean_of: Mapping[str, Tensor]


@dataclass(slots=True)
class Ingredients:
    """The ingredients that are finished.

    Attributes:
        keeps: one keep-mask each.
        losses: mean training loss each.
        scores: prunable name -> float64 sum of |w| over them.
        weights: name -> sum of the weights over them; empty unless asked for.
    """

    keeps: list[KeepMask] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    scores: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)

    def add(self, state: Mapping[str, Tensor], loss: float, soup: Soup) -> None:
        """One more: its mask is that of its own magnitudes."""
        scores = {name: w.abs() for name, w in state.items() if name in soup.parent}
        self.keeps.append(masks.top_k(scores, soup.counts[len(self.keeps)], soup.parent))
        self.losses.append(loss)
        self.scores = {name: self.scores.get(name, 0) + s.double() for name, s in scores.items()}
        if soup.mean_of:
            self.weights = {name: self.weights.get(name, 0) + w for name, w in state.items()}

    def saved(self, soup: Soup) -> State:
        """As a state from which `of` makes the same again; masks take a bit a weight."""
        tensors = {f"scores.{name}": tensor for name, tensor in self.scores.items()}
        tensors |= {f"weights.{name}": tensor for name, tensor in self.weights.items()}
        for n, keep in enumerate(self.keeps):
            tensors |= {f"keep{n}.{name}": pack(mask) for name, mask in keep.items()}
        return tensors, {"soup": dict(soup.settings), "losses": list(self.losses)}

    @classmethod
    def of(cls, saved: State, soup: Soup) -> Ingredients:
        """The inverse of `saved`.

        Raises:
            MisfitError: the state is not one of this soup.
        """
        tensors, values = saved
        if values.get("soup") != json.loads(json.dumps(dict(soup.settings))):
            raise MisfitError("it is of other settings or another seed")
        try:
            losses = [read_number(loss) for loss in values["losses"]]
            keeps = [_mask(cut(tensors, f"keep{n}"), soup.parent) for n in range(len(losses))]
        except (KeyError, TypeError, ValueError, FormatError) as error:
            raise MisfitError(f"its ingredients cannot be read ({error!r})") from None
        _check_masks(keeps, soup)
        scores, weights = cut(tensors, "scores"), cut(tensors, "weights")
        if losses:
            check_like(
                scores, {n: torch.empty_like(k, dtype=torch.double) for n, k in soup.parent.items()}
            )
            check_like(weights, soup.mean_of)
        if len(tensors) != sum(map(len, (scores, weights, *keeps))):
            raise MisfitError("it holds tensors that no ingredient has")
        return cls(keeps, losses, scores, weights)


def _mask(packed: Mapping[str, Tensor], parent: KeepMask) -> KeepMask:
    return {name: unpack(packed[name], tuple(keep.shape)) for name, keep in parent.items()}


def _check_masks(keeps: Sequence[KeepMask], soup: Soup) -> None:
    if len(keeps) >= len(soup.counts):
        raise MisfitError(f"{len(keeps)} of {len(soup.counts)} ingredients leave nothing to do")
    for n, keep in enumerate(keeps):
        if masks.kept(keep) != soup.counts[n] or not masks.contains(soup.parent, keep):
            raise MisfitError(f"the mask of ingredient {n} has another count or leaves its parent")
