"""The batches of an epoch: all that is random about them is drawn on the host, many at a time.

A GPU works while the host goes on. Whatever asks it for a number, or sends it memory that is not
pinned, waits until it has caught up. So the order of an epoch, its flips, crops and tickets are
drawn before its first step and sent at once; a step then only cuts its own part out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trials.context import Context
from trials.lazy import torch
from trials.tokens.kept import Kept
from trials.tokens.patches import Moves, Patches
from trials.training.recipe import TrainConfig
from trials.training.reducing import Noise

if TYPE_CHECKING:
    from torch import Tensor

AT_ONCE_BYTES = 64 * 2**20
"""About what the draws of an epoch may take; a longer one is drawn and sent in parts."""

BYTES_OF_A_PATCH = 16
"""Of an image: its index, int64, and what it takes to find it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch, on the device.

    Attributes:
        rows: int64 (B,): which training images; on_host: the same, on the host.
        moves: how they are augmented.
        kept: the patches that are seen of them; None = all. With a scorer only as many.
        counts: int64 (B,): the number of these patches; None unless a scorer reads it.
        noise: float32 (B, stages, P, 2), what the model draws; None = nothing.
    """

    rows: Tensor
    on_host: Tensor
    moves: Moves
    kept: Kept | None
    counts: Tensor | None
    noise: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Batches:
    """What the batches of a training have in common.

    Attributes:
        patches: None = all are seen.
        columns: of the model's patch grid.
    """

    cfg: TrainConfig
    ctx: Context
    patches: Patches | None
    columns: int

    def of(
        self,
        rows: Tensor,
        draw: torch.Generator,
        noise: Noise | None = None,
        chosen: torch.Generator | None = None,
    ) -> Iterator[Batch]:
        """The batches of an epoch, or of its beginning.

        Args:
            rows: int64, on the host: which training images, in the order of the epoch.
            draw: of the augmentation and of random patches; used batch by batch, in order.
            noise: what a model draws inside, with a generator of its own.
            chosen: of random patches, where they are drawn apart; None = `draw`.
        """
        for part in torch.split(rows, self._at_once(noise)):
            yield from self._drawn(part, draw, noise, chosen or draw)

    def _at_once(self, noise: Noise | None) -> int:
        """Images that are drawn for at once: whole batches."""
        patches = 1 if self.patches is None else self.patches.keep_NP.shape[1]
        image = BYTES_OF_A_PATCH * patches + (0 if noise is None else noise.bytes_of_an_image)
        batches = AT_ONCE_BYTES // (image * self.cfg.batch_size)
        return max(1, batches) * self.cfg.batch_size

    def _drawn(
        self, rows: Tensor, draw: torch.Generator, noise: Noise | None, chosen: torch.Generator
    ) -> Iterator[Batch]:
        size, place = self.cfg.batch_size, self.ctx.placed
        moved: list[Moves] = []
        drawn: list[Tensor] = []
        for start in range(0, len(rows), size):
            images = len(rows[start : start + size])
            moved.append(Moves.draw(images, self.cfg.flip, self.cfg.crop, draw))
            scores = None if self.patches is None else self.patches.draw(images, chosen)
            drawn += [] if scores is None else [scores]
        moves, table, counts = Moves.joined(moved), None, None
        if self.patches is not None:
            scores = torch.cat(drawn) if drawn else None
            table = self.patches.table(rows, scores, moves.mirrored, self.columns)
            if self.patches.scorer is None:
                table = table.placed(place)
            else:
                counts = place(table.counts)
        here, moves = place(rows), moves.placed(place)
        inside = None if noise is None else place(noise.of(rows))
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            kept = None if table is None else table.batch(part)
            own = None if counts is None else counts[part]
            drawn_inside = None if inside is None else inside[part]
            yield Batch(here[part], rows[part], moves[part], kept, own, drawn_inside)
