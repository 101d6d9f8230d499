"""What a stage has to do: multiply-accumulates (MACs), and runs of a block on a batch."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

from trials.data.datasets import Counts
from trials.model.capability import Capability, capability_of
from trials.reduction import tokens
from trials.reduction.config import ReductionConfig
from trials.stage import Later, Load, StageConfig

EVAL_BATCH = 512
"""Images that a pass without training looks at together."""


def forward_macs(model: Capability, kept_patches: int | None = None) -> float:
    """MACs of one image through all but the classifier, as counted in passes of the model.

    Of a plain transformer depth * (n * d * (4 d + 2 hidden) + 2 n^2 d) + P * patch_inputs * d,
    with n = prefix + K tokens; the first term is 12 n d^2 when hidden = 4 d. All patches are
    embedded before the dropped ones are left out. Reproduces EViT's published figures within
    0.06 G. Unstructured masks do not lower it: dense hardware multiplies the zeros too.

    Args:
        kept_patches: K; None = all.
    """
    n = model.prefix + (model.patches if kept_patches is None else kept_patches)
    return float(model.fixed + model.by_token * n + model.by_pair * n * n)


def reduced_macs(
    model: Capability,
    reduction: ReductionConfig,
    kept_patches: int | None = None,
    *,
    training: bool = False,
) -> float:
    """MACs of one image whose tokens leave inside the model, predictors and similarities included.

    What is saved is counted by `trials.reduction.tokens` and taken off `forward_macs`, so that
    the two are equal where nothing leaves.

    Args:
        training: of a training's forward pass, which for DynamicViT keeps all tokens.

    Raises:
        ValueError: a stage would keep nothing, or nothing can be merged.
    """
    counted = tokens.training_forward_macs if training else tokens.forward_macs
    whole = tokens.forward_macs(ReductionConfig(), model, kept_patches).total
    saved = whole - counted(reduction, model, kept_patches).total
    return forward_macs(model, kept_patches) - saved


def training_macs(model: Capability, images: float, kept_patches: int | None = None) -> float:
    """MACs of training on that many images: forward plus twice that for backward."""
    return 3.0 * images * forward_macs(model, kept_patches)


def mean_forward_macs(model: Capability, kept_patches: Iterable[int]) -> float:
    """Mean over images, each at its own number of kept patches."""
    images = Counter(kept_patches)
    total = sum(n * forward_macs(model, kept) for kept, n in images.items())
    return total / images.total()


class Passes(StageConfig):
    """Images that go through models until a trial's model is there; evaluation is left out.

    An image counts as often as it is looked at. `trials.graph.effort` counts them.

    Attributes:
        trained: whole images, forward and backward.
        trained_kept: forward and backward, of which only the kept patches are seen.
        looked_at: whole images, forward only: by teachers, scoring models and criteria.
        trained_reduced: forward and backward, by a model whose tokens leave inside.
        tuned: forward and backward, by a selector inside of which patches leave.
        selected: forward only, by that selector.
    """

    trained: int = 0
    trained_kept: int = 0
    looked_at: int = 0
    trained_reduced: Annotated[int, Later()] = 0
    tuned: Annotated[int, Later()] = 0
    selected: Annotated[int, Later()] = 0


def total_macs(
    passes: Passes,
    model: Capability,
    kept_forward_macs: float,
    reduced_forward_macs: float | None = None,
    selector_forward_macs: float = 0.0,
) -> float:
    """MACs of everything that makes a trial's model; a backward pass costs two forward ones.

    3 * (trained * dense + trained_kept * kept + trained_reduced * reduced) + looked_at * dense
    + (3 * tuned + selected) * selector.
    All models of a trial have one architecture. Masks do not lower it, as they do not lower
    `forward_macs`.

    Args:
        kept_forward_macs: of one training image's kept patches, on average.
        reduced_forward_macs: of one training image, tokens leaving inside, on average; None where
            no such training was.
        selector_forward_macs: of one image, patches leaving inside the selector; 0 without one.
    """
    dense = forward_macs(model)
    trained = passes.trained * dense + passes.trained_kept * kept_forward_macs
    trained += passes.trained_reduced * (reduced_forward_macs or 0.0)
    selecting = (3.0 * passes.tuned + passes.selected) * selector_forward_macs
    return 3.0 * trained + passes.looked_at * dense + selecting


@dataclass(frozen=True)
class Work:
    """What passes of one model over one data set have to do.

    Attributes:
        name: of the timm model, built with `kwargs`.
    """

    name: str
    kwargs: Mapping[str, Any]
    counts: Counts

    @cached_property
    def model(self) -> Capability:
        """The model; looked at when first asked for, because it may take timm."""
        known = {"num_classes": self.counts.classes, "in_chans": self.counts.channels}
        return capability_of(self.name, known | dict(self.kwargs))

    def forward(
        self, images: float, kept_patches: int | None = None, batch: int = EVAL_BATCH
    ) -> Load:
        """Of looking at that many images.

        Args:
            kept_patches: of each image; None = all.
        """
        calls = self.model.depth * math.ceil(images / batch)
        return Load(images * forward_macs(self.model, kept_patches), calls)

    def training(self, images: float, batch: int, kept_patches: int | None = None) -> Load:
        """Of training on that many images: forward, and twice that for backward.

        Args:
            batch: images in a step.
            kept_patches: of each image; None = all.
        """
        calls = 3.0 * self.model.depth * math.ceil(images / batch)
        return Load(training_macs(self.model, images, kept_patches), calls)

    def steps(self, count: int, images: int, batch: int) -> Load:
        """Of that many steps over a subset of `images`, whose last batch may be smaller."""
        whole, left = divmod(count, math.ceil(images / batch))
        return whole * self.training(images, batch) + self.training(
            min(left * batch, images), batch
        )

    def validation(self) -> Load:
        """Of evaluating on the validation images."""
        return self.forward(self.counts.validation)

    def epochs(
        self,
        count: float,
        batch: int,
        images: float | None = None,
        kept_patches: int | None = None,
        scored: float = 0.0,
        taught: float = 0.0,
    ) -> Load:
        """Of epochs of training with an evaluation each.

        Args:
            batch: images in a step.
            images: trained on in an epoch; None = all training images.
            kept_patches: of each trained image; None = all.
            scored: images that another model looks at in an epoch, to choose their patches.
            taught: images that a teacher looks at in an epoch.
        """
        seen = self.counts.train if images is None else images
        epoch = self.training(seen, batch, kept_patches) + self.validation()
        return count * (
            epoch + self.forward(scored, batch=batch) + self.forward(taught, batch=batch)
        )
