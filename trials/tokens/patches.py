"""What the model sees of an image during training: augmentation, and which patches are kept.

Everything is drawn on the host, for many batches before the first of them is trained on: a step
that waits for a number of the host leaves a GPU without work.

Shapes: B batch, C channels, H W pixels, N training images, M images of several batches, P patches,
K kept patches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trials.errors import StageInputError
from trials.lazy import F, torch
from trials.tokens import tickets
from trials.tokens.kept import Kept, KeptTable, Removal

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
        apart: by a generator of their own; else by the one that moves the images.
        scorer: keep as many patches as the ticket does, chosen by these scores of the augmented
            image, instead of the ticket.
        lowest: with a scorer, keep the lowest scores (a control).
    """

    keep_NP: Tensor
    removal: Removal = "gather"
    random: bool = False
    apart: bool = False
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

    def draw(self, images: int, draw: torch.Generator) -> Tensor | None:
        """Random scores float32 (B, P) of one batch; None where nothing is drawn."""
        if not self.random:
            return None
        return torch.rand(images, self.keep_NP.shape[1], generator=draw)

    def table(
        self, rows: Tensor, drawn: Tensor | None, mirrored: Tensor | None, columns: int
    ) -> KeptTable:
        """The patches of some images, on the host; with a scorer only their numbers count.

        Args:
            rows: int64 (M,): the images' places in `keep_NP`.
            drawn: see `draw`, (M, P).
            mirrored: bool (M,): which images are flipped; None = none.
            columns: of the patch grid.
        """
        keep = self.keep_NP[rows]
        if drawn is not None:
            keep = tickets.select_patches(drawn, keep.sum(1))
        table = KeptTable.of_tickets(keep, self.removal)
        if mirrored is None or self.scorer is not None:
            return table
        turned = tickets.flip(table.indices, columns)
        return replace(table, indices=turned.where(mirrored.view(-1, 1), table.indices))

    def scored(self, x: Tensor, counts: Tensor, like: Kept) -> tuple[Kept, Tensor]:
        """The patches of one batch by the scores of its images as they are augmented.

        Args:
            x: the augmented and preprocessed images; a mirrored one's scores are mirrored already.
            counts: int64 (B,), on the device of `x`.
            like: as many patches of each image.

        Returns:
            The patches, and whether any score is NaN: a bool tensor, because a look into it on a
            GPU would wait for it at every step.
        """
        if self.scorer is None:
            raise ValueError("these patches are chosen by no score")
        scores = self.scorer(x)
        longest = like.indices.shape[1]
        best = tickets.best_indices(scores, counts, longest, lowest=self.lowest)
        return replace(like, indices=best), scores.isnan().any()


@dataclass(frozen=True, slots=True)
class Moves:
    """How images are moved at random.

    Attributes:
        mirrored: bool (M,); None = none is.
        offsets: int64 (2, M, 1), row and column of each image's window; None = none is cropped.
    """

    mirrored: Tensor | None
    offsets: Tensor | None

    @classmethod
    def draw(cls, images: int, flip: bool, crop: int, draw: torch.Generator) -> Moves:
        """Draw those of one batch, on the host; a setting that is off draws nothing.

        Args:
            flip: mirror each image with probability one half.
            crop: pixels of zero-padding on every side, of which a window of the old size is taken.
        """
        mirrored = torch.rand(images, generator=draw) < 0.5 if flip else None
        offsets = torch.randint(0, 2 * crop + 1, (2, images, 1), generator=draw) if crop else None
        return cls(mirrored, offsets)

    @classmethod
    def joined(cls, parts: Sequence[Moves]) -> Moves:
        """Those of several batches, in order."""
        mirrored = [part.mirrored for part in parts if part.mirrored is not None]
        offsets = [part.offsets for part in parts if part.offsets is not None]
        return cls(
            torch.cat(mirrored) if mirrored else None, torch.cat(offsets, 1) if offsets else None
        )

    def placed(self, place: Callable[[Tensor], Tensor]) -> Moves:
        """The same, where `place` puts them."""
        mirrored = None if self.mirrored is None else place(self.mirrored)
        return Moves(mirrored, None if self.offsets is None else place(self.offsets))

    def __getitem__(self, part: slice) -> Moves:
        mirrored = None if self.mirrored is None else self.mirrored[part]
        return Moves(mirrored, None if self.offsets is None else self.offsets[:, part])

    def move(self, images: Tensor, crop: int) -> Tensor:
        """Flip and crop images uint8 (B, C, H, W), on the device of the moves.

        Raises:
            StageInputError: the padding is so large that nothing of an image might be left.
        """
        if self.mirrored is not None:
            images = torch.where(self.mirrored.view(-1, 1, 1, 1), images.flip(-1), images)
        return images if self.offsets is None else _cropped(images, crop, self.offsets)


def _cropped(images: Tensor, crop: int, offsets: Tensor) -> Tensor:
    batch, channels, height, width = images.shape
    if crop >= min(height, width):
        raise StageInputError(
            f"crop = {crop}, but the images have {height} x {width} pixels: it must be smaller, or "
            "a crop could hold nothing but padding"
        )
    row = offsets[0] + torch.arange(height, device=images.device)
    column = offsets[1] + torch.arange(width, device=images.device)
    image = torch.arange(batch, device=images.device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=images.device).view(1, -1, 1, 1)
    padded = F.pad(images, (crop,) * 4)
    return padded[image, channel, row[:, None, :, None], column[:, None, None, :]]
