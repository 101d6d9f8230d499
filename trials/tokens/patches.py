"""What the model sees of an image during training: augmentation, and which patches are kept.

Shapes: B batch, C channels, H W pixels, N training images, P patches, K kept patches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trials.errors import StageInputError
from trials.lazy import F, torch
from trials.tokens import tickets
from trials.tokens.kept import Kept, Removal

if TYPE_CHECKING:
    from torch import Tensor

Scorer = Callable[["Tensor"], "Tensor"]
"""Preprocessed images (B, C, H, W) -> scores (B, P); draws nothing and is not trained."""


@dataclass(frozen=True, slots=True)
class Patches:
    """Which patches the model sees during training.

    Attributes:
        keep_NP: bool, training images x patches: a ticket per image.
        random: draw as many patches afresh for every image and step instead (a control).
        scorer: keep as many patches as the ticket does, chosen by these scores of the augmented
            image, instead of the ticket.
        lowest: with a scorer, keep the lowest scores (a control).
    """

    keep_NP: Tensor
    removal: Removal = "gather"
    random: bool = False
    scorer: Scorer | None = None
    lowest: bool = False

    def refuse_broken_grid(self, crop: int) -> None:
        """Tickets are indices on the grid of the image as it is: a flip mirrors them, a crop not.

        Raises:
            StageInputError: images are cropped and the tickets are static.
        """
        if crop and not self.random and self.scorer is None:
            raise StageInputError(
                f"finetune.crop = {crop} moves the pixels under the patch grid, so the tickets no "
                "longer fit: write `tickets.selection: online` or `finetune.crop: 0`"
            )

    def kept(
        self, rows: Tensor, x: Tensor, mirrored: Tensor, columns: int, draw: torch.Generator
    ) -> Kept:
        """The patches of one batch, padded where images differ in number.

        Args:
            rows: the images' places in `keep_NP`.
            x: the augmented and preprocessed images.
            mirrored: bool (B,): which images have been flipped.
            columns: of the patch grid.
        """
        keep = self.keep_NP[rows]
        if self.random:
            keep = tickets.random_patches(len(keep), keep.shape[1], keep.sum(1), draw)
        elif self.scorer is not None:
            # The scores are those of the flipped image already.
            scores = self.scorer(x)
            chosen = tickets.select_patches(scores, keep.sum(1), lowest=self.lowest)
            return Kept.of_tickets(chosen, self.removal)
        kept = tickets.indices(keep)
        if bool(mirrored.any()):
            kept = torch.where(mirrored.view(-1, 1), tickets.flip(kept, columns), kept)
        return Kept.of(kept, self.removal)


def augment(images: Tensor, flip: bool, crop: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Flip and crop at random; a setting that is off draws nothing.

    Args:
        images: uint8 (B, C, H, W) on any device.
        flip: mirror each image with probability one half.
        crop: pixels of zero-padding on every side, of which a window of the old size is taken.

    Returns:
        Images of the same shape, and bool (B,) on the CPU: which of them are mirrored.

    Raises:
        StageInputError: the padding is so large that nothing of an image might be left.
    """
    mirrored = torch.zeros(len(images), dtype=torch.bool)
    if flip:
        mirrored = torch.rand(len(images), generator=draw) < 0.5
        where = mirrored.to(images.device).view(-1, 1, 1, 1)
        images = torch.where(where, images.flip(-1), images)
    if crop:
        images = _cropped(images, crop, draw)
    return images, mirrored


def _cropped(images: Tensor, crop: int, draw: torch.Generator) -> Tensor:
    batch, channels, height, width = images.shape
    if crop >= min(height, width):
        raise StageInputError(
            f"crop = {crop}, but the images have {height} x {width} pixels: it must be smaller, or "
            "a crop could hold nothing but padding"
        )
    offsets = torch.randint(0, 2 * crop + 1, (2, batch, 1), generator=draw).to(images.device)
    row = offsets[0] + torch.arange(height, device=images.device)
    column = offsets[1] + torch.arange(width, device=images.device)
    image = torch.arange(batch, device=images.device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=images.device).view(1, -1, 1, 1)
    padded = F.pad(images, (crop,) * 4)
    return padded[image, channel, row[:, None, :, None], column[:, None, None, :]]
