"""What a forward pass costs, in multiply-accumulates (MACs)."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from trials import vit
from trials.sources import Counts
from trials.stage import StageConfig
from trials.vit import Shape


def forward_macs(shape: Shape, kept_patches: int | None = None) -> float:
    """MACs of one image through the blocks and the patch embedding.

    depth * (n * d * (4 d + 2 hidden) + 2 n^2 d) + P * patch_inputs * d, with n = prefix + K
    tokens; the first term is 12 n d^2 when hidden = 4 d. All patches are embedded before the
    dropped ones are left out. Reproduces EViT's published figures within 0.06 G. Unstructured
    masks do not lower it: dense hardware multiplies the zeros too.

    Args:
        kept_patches: K; None = all.
    """
    n = shape.prefix + (shape.patches if kept_patches is None else kept_patches)
    d = shape.width
    block = n * d * (4 * d + 2 * shape.hidden) + 2 * n * n * d
    return float(shape.depth * block + shape.patches * shape.patch_inputs * d)


def training_macs(shape: Shape, images: float, kept_patches: int | None = None) -> float:
    """MACs of training on that many images: forward plus twice that for backward."""
    return 3.0 * images * forward_macs(shape, kept_patches)


def mean_forward_macs(shape: Shape, kept_patches: Iterable[int]) -> float:
    """Mean over images, each at its own number of kept patches."""
    images = Counter(kept_patches)
    total = sum(n * forward_macs(shape, kept) for kept, n in images.items())
    return total / images.total()


class Passes(StageConfig):
    """Images that go through models until a trial's model is there; evaluation is left out.

    An image counts as often as it is looked at. `trials.effort` counts them.

    Attributes:
        trained: whole images, forward and backward.
        trained_kept: forward and backward, of which only the kept patches are seen.
        looked_at: whole images, forward only: by teachers, scoring models and criteria.
    """

    trained: int = 0
    trained_kept: int = 0
    looked_at: int = 0


def total_macs(passes: Passes, shape: Shape, kept_forward_macs: float) -> float:
    """MACs of everything that makes a trial's model; a backward pass costs two forward ones.

    3 * (trained * dense + trained_kept * kept) + looked_at * dense. All models of a trial have
    one shape. Masks do not lower it, as they do not lower `forward_macs`.

    Args:
        kept_forward_macs: of one training image's kept patches, on average.
    """
    dense = forward_macs(shape)
    trained = passes.trained * dense + passes.trained_kept * kept_forward_macs
    return 3.0 * trained + passes.looked_at * dense


@dataclass(frozen=True)
class Work:
    """MACs of passes of one model over one data set.

    Attributes:
        name: of the timm model, built with `kwargs`.
    """

    name: str
    kwargs: Mapping[str, Any]
    counts: Counts

    @cached_property
    def shape(self) -> Shape:
        """The model's; found when first asked for, because it takes timm."""
        known = {"num_classes": self.counts.classes, "in_chans": self.counts.channels}
        return vit.shape_of(self.name, known | dict(self.kwargs))

    def forward(self, images: float) -> float:
        """Of looking at that many whole images."""
        return images * forward_macs(self.shape)

    def training(self, images: float) -> float:
        """Of training on that many whole images."""
        return training_macs(self.shape, images)

    def validation(self) -> float:
        """Of evaluating on the validation images."""
        return self.forward(self.counts.validation)

    def epochs(
        self,
        count: int,
        images: float | None = None,
        kept_patches: int | None = None,
        scored: float = 0.0,
    ) -> float:
        """Of epochs of training with an evaluation each.

        Args:
            images: trained on in an epoch; None = all training images.
            kept_patches: of each trained image; None = all.
            scored: images that another model looks at in an epoch.
        """
        seen = self.counts.train if images is None else images
        per_epoch = training_macs(self.shape, seen, kept_patches)
        return count * (per_epoch + self.forward(self.counts.validation + scored))
