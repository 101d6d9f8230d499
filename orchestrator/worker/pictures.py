"""Pictures of tickets: images whose dropped patches are greyed (LOTUS figure 3)."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trials.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

EXAMPLES = 8
SIDE_PX = 112
GAP_PX = 6
GREY = 0.25


def ticket_examples(images: NDArray[np.uint8], keep_NP: Tensor) -> Image.Image:
    """Two rows: the first images of a split, and the same with dropped patches greyed out.

    Args:
        images: uint8 (N, C, H, W), one or three channels.
        keep_NP: bool (N, P) on a square or 1:1-aspect patch grid in row-major order.
    """
    count = min(EXAMPLES, len(images))
    rows = columns = round(keep_NP.shape[1] ** 0.5)
    step = SIDE_PX + GAP_PX
    sheet = Image.new("RGB", (count * step - GAP_PX, 2 * step - GAP_PX), "white")
    for i in range(count):
        picture = _enlarged(images[i])
        keep = keep_NP[i].numpy().reshape(rows, columns).astype(np.uint8) * 255
        mask = Image.fromarray(keep).resize((SIDE_PX, SIDE_PX), Image.Resampling.NEAREST)
        sheet.paste(picture, (i * step, 0))
        sheet.paste(Image.composite(picture, _faded(picture), mask), (i * step, step))
    return sheet


def ticket_examples_png(images: NDArray[np.uint8], keep_NP: Tensor) -> bytes:
    """The same as a PNG file, drawn once for all trials of a process that share their tickets."""
    first, keep = images[:EXAMPLES], keep_NP[:EXAMPLES].numpy()
    return _png(first.tobytes(), first.shape, keep.tobytes(), keep.shape)


@lru_cache(maxsize=64)
def _png(images: bytes, shape: tuple[int, ...], keep: bytes, keep_shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    kept = torch.from_numpy(np.frombuffer(keep, np.bool_).reshape(keep_shape).copy())
    ticket_examples(np.frombuffer(images, np.uint8).reshape(shape), kept).save(file, "PNG")
    return file.getvalue()


def _enlarged(image: NDArray[np.uint8]) -> Image.Image:
    pixels = image.transpose(1, 2, 0)
    pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[:, :, :3]
    smooth = Image.Resampling.BICUBIC if pixels.shape[0] > 16 else Image.Resampling.NEAREST
    return Image.fromarray(np.ascontiguousarray(pixels)).resize((SIDE_PX, SIDE_PX), smooth)


def _faded(picture: Image.Image) -> Image.Image:
    """A flat grey with a trace of the image, so that a dropped patch differs from a dark one."""
    return Image.blend(Image.new("RGB", picture.size, (150, 150, 165)), picture, GREY * 0.5)
