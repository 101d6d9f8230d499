"""Pictures of every kind, against numbers worked out by hand."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from trials.data.pixels import CorruptError, Policy, pixels, size_of
from trials.errors import DataError

OWN = Policy(None, None, "squash", 3, None)
GREY = Policy(None, None, "squash", 1, None)


def saved(image: Image.Image, kind: str = "PNG", **more: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **more)
    return file.getvalue()


def ramp(dtype: Any, top: float, count: int = 64) -> NDArray[Any]:
    """Evenly spaced values from 0 to `top`, 8 x 8."""
    return np.linspace(0, top, count).astype(dtype).reshape(8, -1)


def test_sixteen_bit_grey_keeps_every_one_of_64_values() -> None:
    image = Image.fromarray(ramp(np.uint16, 65535))
    assert image.mode == "I;16"
    by_pillow = np.asarray(image.convert("RGB"))
    found = pixels(saved(image), GREY)
    assert len(np.unique(by_pillow)) == 2, "if Pillow scales now, this rule is not needed"
    assert len(np.unique(found)) == 64
    assert (found.min(), found.max()) == (0, 255)
    assert np.array_equal(found[0], np.rint(ramp(np.uint16, 65535) / 257).astype(np.uint8))


@pytest.mark.parametrize(
    ("dtype", "kind"), [(np.uint16, "PNG"), (np.uint16, "TIFF"), (np.int32, "TIFF")]
)
def test_a_window_says_what_is_black_and_white(dtype: Any, kind: str) -> None:
    """Twelve bits in a container of 16 or 32, as medical images have them."""
    image = Image.fromarray(ramp(dtype, 4095))
    found = pixels(saved(image, kind), Policy(None, None, "squash", 1, (0.0, 4095.0)))
    assert len(np.unique(found)) == 64
    assert found.max() == 255
    narrow = pixels(saved(image, kind), Policy(None, None, "squash", 1, (1000.0, 2000.0)))
    assert (narrow[0] == 0).sum() == (ramp(dtype, 4095) <= 1001).sum()
    assert (narrow[0] == 255).sum() == (ramp(dtype, 4095) >= 1999).sum()


def test_fractions_go_from_0_to_1_and_what_is_no_number_is_black() -> None:
    values = ramp(np.float32, 1.0)
    values[0, 0] = np.nan
    found = pixels(saved(Image.fromarray(values), "TIFF"), GREY)
    assert len(np.unique(found)) == 64
    assert found[0, 0, 0] == 0


def test_transparent_pixels_lie_on_white() -> None:
    array = np.zeros((2, 2, 4), dtype=np.uint8)
    array[0, 0] = (10, 20, 30, 255)
    array[0, 1] = (10, 20, 30, 0)
    array[1, 0] = (0, 0, 0, 128)
    found = pixels(saved(Image.fromarray(array)), OWN)
    assert found[:, 0, 0].tolist() == [10, 20, 30]
    assert found[:, 0, 1].tolist() == [255, 255, 255]
    assert found[:, 1, 0].tolist() == [127, 127, 127]


def test_a_palette_becomes_its_colours_and_its_transparent_entry_white() -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    found = pixels(saved(image), OWN)
    assert found[:, 0].T.tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    clear = pixels(saved(image, transparency=1), OWN)
    assert clear[:, 0].T.tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 255]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P", "CMYK", "YCbCr", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_gives_the_asked_channels_and_white_stays_white(
    mode: str, channels: int
) -> None:
    white = Image.new("RGB", (5, 4), (255, 255, 255))
    image = Image.fromarray(np.full((4, 5), 65535, np.uint16)) if mode == "I;16" else None
    kind = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    content = saved(image or white.convert(mode), kind)
    found = pixels(content, Policy(None, None, "squash", channels, None))
    assert (found.shape, found.dtype) == ((channels, 4, 5), np.uint8)
    assert found.min() >= 254


def test_grey_in_three_channels_is_the_same_in_each() -> None:
    found = pixels(saved(Image.fromarray(ramp(np.uint8, 255))), OWN)
    assert np.array_equal(found, np.stack([ramp(np.uint8, 255)] * 3))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_camera_says(orientation: int) -> None:
    upright = Image.fromarray(np.random.default_rng(0).integers(0, 255, (6, 9, 3), dtype=np.uint8))
    turns = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    turn = turns[orientation]
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(stored, "PNG", exif=exif)
    assert np.array_equal(pixels(content, OWN).transpose(1, 2, 0), np.asarray(upright))
    assert size_of(content) == (6, 9)


def test_squash_shows_the_whole_image_and_center_crop_its_middle() -> None:
    wide = np.zeros((10, 30, 3), dtype=np.uint8)
    wide[:, :10], wide[:, 20:] = 255, 255
    content = saved(Image.fromarray(wide))
    squashed = pixels(content, Policy(12, 12, "squash", 1, None))[0]
    cropped = pixels(content, Policy(12, 12, "center_crop", 1, None))[0]
    assert squashed.shape == cropped.shape == (12, 12)
    assert (squashed[:, [0, 11]] == 255).all()
    assert (squashed[:, 5:7] == 0).all()
    assert (cropped[:, 1:11] == 0).all()


def test_resizing_is_pillows_bicubic_with_antialiasing() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 24, 3), dtype=np.uint8)
    found = pixels(saved(Image.fromarray(noise)), Policy(9, 9, "squash", 3, None))
    wanted = Image.fromarray(noise).resize((9, 9), Image.Resampling.BICUBIC)
    assert np.array_equal(found.transpose(1, 2, 0), np.asarray(wanted))
    assert found.std() < noise.std() / 2, "fine noise is averaged, not sampled"


def test_of_several_frames_the_first_counts() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    content = saved(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    assert pixels(content, OWN)[:, 0, 0].tolist() == [255, 0, 0]


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not an image"),
        (b"GIF89a", "."),
        (b"<html>404 Not Found</html>", "not an image"),
        (saved(NOISE, "JPEG")[:900], "truncated"),
        (saved(NOISE)[:900], "truncated"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 64, "."),
    ],
    ids=["empty", "header", "page", "half-jpeg", "half-png", "zeros"],
)
def test_what_cannot_be_decoded_says_why(content: bytes, why: str) -> None:
    with pytest.raises(CorruptError, match=why):
        pixels(content, OWN)


def test_a_picture_far_too_large_is_corrupt_and_not_an_end_of_memory() -> None:
    head = saved(Image.new("1", (8, 8)))
    huge = head.replace((8).to_bytes(4, "big") * 2, (60_000).to_bytes(4, "big") * 2)
    with pytest.raises(CorruptError):
        pixels(huge, OWN)


def test_a_file_that_cannot_be_read_is_no_corrupt_image(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png cannot be read: No such file"):
        pixels(tmp_path / "gone.png", OWN)
