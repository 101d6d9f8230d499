"""`data:` in a sweep file: which images, how they are read, and what each of them is for."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from trials.errors import DataError
from trials.stage import StageConfig

SourceName = Literal["digits", "cifar10", "imagefolder", "torchvision", "huggingface", "webdataset"]


class DataConfig(StageConfig):
    """Which images, and which of them are for training, selecting and reporting."""

    name: SourceName = Field(
        description="data set, or how the images lie on disk: `imagefolder` (a folder for each "
        "class), `torchvision` (a set that torchvision knows, see `dataset`), `huggingface` "
        "(parquet files, or a folder of `save_to_disk`), `webdataset` (tar files)"
    )
    root: Path | None = Field(
        None, description="folder that holds the data set; relative to the working directory"
    )
    dataset: str | None = Field(
        None,
        description="with `name: torchvision`: its name in torchvision.datasets, such as CIFAR100",
    )
    download: bool = Field(
        False,
        description="with `name: torchvision`: fetch the set into `root` when it is not there",
    )
    size: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        None,
        description="pixels a side at which images are held; default: as they are, where all have "
        "one size of at most 256 pixels a side, else 224",
    )
    resize: Literal["squash", "center_crop"] = Field(
        "squash",
        description="how an image comes to `size`: squash the whole image, or bring its shorter "
        "side there and cut out the centre; bicubic, antialiased",
    )
    channels: Literal[1, 3] | None = Field(
        None,
        description="colour channels at which images are held; default: 1 where torchvision's set "
        "is grey, else 3",
    )
    window: tuple[float, float] | None = Field(
        None,
        description="values of grey images of more than 8 bits that become black and white; "
        "default: [0, 65535] for whole numbers, [0, 1] for fractions",
    )
    corrupt: Literal["refuse", "leave_out"] = Field(
        "refuse", description="what to do with images that cannot be decoded"
    )
    image_column: str | None = Field(
        None,
        description="with `huggingface` or `webdataset`: column or extension that holds the image; "
        "default: the only one that can",
    )
    label_column: str | None = Field(
        None,
        description="with `huggingface` or `webdataset`: column or extension that holds the label; "
        "default: `label` or the only one that can",
    )
    test_fraction: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="of images that come in one part: the stratified fraction to report on",
    )
    validation: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="images set aside to select on; default: those that the data set has set "
        "aside, 5,000 of CIFAR-10, 200 of digits, a tenth of any other training set",
    )
    validation_from: Literal["train", "test"] = Field(
        "train",
        description="test: for weights that have seen the whole training set, the test set is "
        "split into a half to select on and a half to report",
    )
    train_images: Annotated[int, Field(ge=1)] | None = Field(
        None, description="train on a stratified subset of this size; default: all"
    )
    test_images: Annotated[int, Field(ge=2)] | None = Field(
        None,
        description="evaluate on a stratified subset of the test set of this size, before it is "
        "split into halves; default: all",
    )
    split_seed: int = Field(0, description="seed of the split; the same for all trials")
    memory_gib: float | None = Field(
        None,
        ge=0,
        description="images are held in memory, once for each node, up to this size (GiB); more "
        "lie in a file on the node's disk, mapped into memory; default: a fifth of the memory",
    )

    @field_validator("root")
    @classmethod
    def _absolute(cls, root: Path | None) -> Path | None:
        """Workers run in other folders: a relative path means this working directory."""
        return root.expanduser().absolute() if root is not None else None

    @property
    def folder(self) -> Path:
        """`root`, for what cannot do without.

        Raises:
            DataError: it is not set.
        """
        if self.root is None:
            raise DataError(f"data.root is missing: name the folder of {self.name}")
        return self.root

    @field_validator("window")
    @classmethod
    def _ascending(cls, window: tuple[float, float] | None) -> tuple[float, float] | None:
        if window is not None and not window[0] < window[1]:
            raise ValueError(f"the first of {list(window)} becomes black, so it must be smaller")
        return window
