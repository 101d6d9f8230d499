"""From a picture in any format to uint8 pixels at one size.

What is decided here is part of every stored data set's key: raise `DECODING` with each change.

- A picture is turned as its EXIF orientation says. Of several frames the first counts.
- Transparent pixels lie on white, as on a page: below them a file may hold anything.
- Grey of more than 8 bits is scaled by a window of values *before* it becomes 8 bits. Pillow's
  own conversion cuts off at 255, which leaves 2 of 64 evenly spaced values of a 16-bit image.
- Palettes, CMYK, YCbCr, LAB and black-and-white become RGB as Pillow converts them; colour
  profiles are not applied, as in timm and torchvision.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from trials.data.config import DataConfig
from trials.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")

DECODING = 1
"""Of the rules above."""

Picture = Path | bytes | Callable[[], "Image"]
"""Where a picture is, or its file's content, or what opens it."""

OWN_SIZE, OTHER_SIZE = 256, 224
"""Images of one size are held as they are up to the first; the others at the second."""

DEEP = {"I": 65535.0, "F": 1.0}
"""Modes of more than 8 bits, beside `I;16...` -> what becomes white."""


class CorruptError(Exception):
    """A picture that cannot be decoded: why, in a few words."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How pictures become arrays of one shape.

    Attributes:
        height, width: in pixels; None = of the picture itself.
    """

    height: int | None
    width: int | None
    resize: Literal["squash", "center_crop"]
    channels: int
    window: tuple[float, float] | None

    @classmethod
    def of(cls, cfg: DataConfig, channels: int) -> Policy:
        """As a sweep file says.

        Args:
            channels: of the data set, unless the file says otherwise.
        """
        return cls(cfg.size, cfg.size, cfg.resize, cfg.channels or channels, cfg.window)


def size_of(picture: Picture) -> tuple[int, int]:
    """Height and width in pixels once it is turned; the pixels themselves are not read.

    Raises:
        CorruptError: it is no picture.
    """
    from PIL import ExifTags

    def look(image: Image) -> tuple[int, int]:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        return (image.width, image.height) if turned else (image.height, image.width)

    return _opened(picture, look)


def pixels(picture: Picture, policy: Policy) -> NDArray[np.uint8]:
    """Decode a picture.

    Returns:
        uint8 (C, H, W).

    Raises:
        CorruptError: it cannot be decoded.
    """

    def decode(image: Image) -> NDArray[np.uint8]:
        found = np.asarray(_fitted(_in_eight_bits(image, policy), policy))
        return found[None] if found.ndim == 2 else np.ascontiguousarray(found.transpose(2, 0, 1))

    return _opened(picture, decode)


def _opened(picture: Picture, look: Callable[[Image], T]) -> T:
    """What is found of an open picture.

    Raises:
        CorruptError: anything else went wrong: decoders of damaged files raise errors of any kind.
        DataError: the file could not be read at all.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata, which nobody reads
            if callable(picture):
                return look(picture())
            source = io.BytesIO(picture) if isinstance(picture, bytes) else picture
            with Image.open(source) as image:
                return look(image)
    except (MemoryError, DataError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(
                f"{error.filename or 'an image'} cannot be read: {error.strerror}"
            ) from None
        raise CorruptError(_why(error)) from error


def _why(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "cannot identify image file" in text:
        return "not an image, or its first bytes are damaged"
    return text[:200] or type(error).__name__


def _in_eight_bits(image: Image, policy: Policy) -> Image:
    """Turned, without transparency, with the channels that are asked for."""
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode in DEEP or image.mode.startswith("I;"):
        image = _from_deep_grey(image, policy)
    elif image.has_transparency_data:
        image = _on_white(image.convert("RGBA"))
    # A palette has no greys of its own, so it takes the way by its colours.
    if image.mode not in ("RGB", "L"):
        image = image.convert("L" if image.mode in ("1", "LA") else "RGB")
    return image.convert("RGB" if policy.channels == 3 else "L")


def _from_deep_grey(image: Image, policy: Policy) -> Image:
    import PIL.Image

    values = np.asarray(image, dtype=np.float64)
    low, high = policy.window or (0.0, DEEP.get(image.mode, 65535.0))
    scaled = np.rint((values - low) * (255.0 / (high - low)))
    return PIL.Image.fromarray(np.nan_to_num(scaled).clip(0, 255).astype(np.uint8))


def _on_white(image: Image) -> Image:
    import PIL.Image

    white = PIL.Image.new("RGBA", image.size, (255, 255, 255, 255))
    return PIL.Image.alpha_composite(white, image).convert("RGB")


def _fitted(image: Image, policy: Policy) -> Image:
    import PIL.Image

    if policy.height is None or policy.width is None:
        return image
    wanted = (policy.width, policy.height)
    if image.size == wanted:
        return image
    if policy.resize == "squash":
        return image.resize(wanted, PIL.Image.Resampling.BICUBIC)
    scale = max(wanted[0] / image.width, wanted[1] / image.height)
    # The part of the picture that fills the square: cut out and resized in one step.
    width, height = wanted[0] / scale, wanted[1] / scale
    left, top = (image.width - width) / 2, (image.height - height) / 2
    box = (left, top, left + width, top + height)
    return image.resize(wanted, PIL.Image.Resampling.BICUBIC, box=box)
