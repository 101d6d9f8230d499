"""Models as data: what a sweep file says of one, and its architecture and weights, made by timm.

`module.py` has a model on a device.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from trials.errors import ModelError
from trials.lazy import torch
from trials.model import repository, weights
from trials.model.families import HOMES, Module, family_of
from trials.precision import Precision
from trials.reduction import PREDICTORS, attach
from trials.reduction.attached import Attached
from trials.reduction.config import ReductionConfig
from trials.seeding import global_seed
from trials.stage import Later, StageConfig

if TYPE_CHECKING:
    from torch import Tensor

LOADS_WEIGHTS = {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path"}
"""Arguments of timm.create_model that read weights from elsewhere, pickled ones among them."""

LONGEST_NAME = 100

BUILD_ERRORS = (
    *(TypeError, AssertionError, ValueError, RuntimeError),
    *(LookupError, ArithmeticError, AttributeError),
)
"""What timm raises where it cannot make a model of the given arguments."""


def _names(value: Any) -> Iterator[str]:
    """All names in nested settings."""
    if isinstance(value, dict):
        yield from map(str, value)
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _names(part)


class ModelConfig(StageConfig):
    """A timm vision transformer and where its weights come from."""

    name: str = Field(
        description="a vision transformer of timm, e.g. vit_small_patch16_224; or "
        "local-dir:FOLDER, hf-hub:ORG/NAME: the model of a config.json that timm wrote"
    )
    pretrained: bool | Path | str = Field(
        True,
        description="true: timm's weights (or those of the folder or repository in `name`); false: "
        "random; or a safetensors file, a folder with one, or hf-hub:ORG/NAME[@REVISION]",
    )
    kwargs: dict[str, Any] = Field(default_factory=dict, description="passed to timm.create_model")
    mean: tuple[float, ...] | None = Field(
        None, description="per channel, of pixels in [0, 1]; default: the weights' pretrained_cfg"
    )
    std: tuple[float, ...] | None = Field(None, description="like mean")
    eval_precision: Annotated[Precision, Later()] = Field(
        "float32",
        description="of the forward passes that are measured, in accuracy and in speed; bfloat16: "
        "autocast, 1.5 times as fast and more on a GPU or a CPU with bfloat16, slower on tiny "
        "models. Training has its own `precision`",
    )

    @field_validator("name")
    @classmethod
    def _no_bare_place(cls, name: str) -> str:
        """As timm itself: a repository and a folder look alike."""
        if "/" in name and not name.startswith((repository.HUB, repository.LOCAL)):
            raise ValueError(
                f"a repository is written {repository.HUB}{name}, a folder {repository.LOCAL}{name}"
            )
        return name

    @field_validator("kwargs")
    @classmethod
    def _named(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        """They become arguments and, flat and dotted, names in tracking; none may load weights."""
        for name in _names(kwargs):
            if not (name.isidentifier() and name.isascii() and len(name) <= LONGEST_NAME):
                raise ValueError(f"{ascii(name)[:60]} is no name of an argument")
        if found := sorted(LOADS_WEIGHTS & kwargs.keys()):
            raise ValueError(f"{found[0]} would load other weights: write `model.pretrained`")
        if kwargs.get("num_classes", 1) == 0:
            raise ValueError(
                "num_classes = 0 is a model without a head: leave it out, and the model gets a "
                "head of as many classes as the data has"
            )
        return kwargs

    @field_validator("pretrained")
    @classmethod
    def _absolute(cls, pretrained: bool | Path | str) -> bool | Path | str:
        """Workers run in other folders: a relative path means this working directory."""
        if isinstance(pretrained, bool) or repository.is_hub(pretrained):
            return pretrained
        path = Path(str(pretrained).removeprefix(repository.LOCAL))
        return path.expanduser().absolute()


@dataclass(frozen=True, slots=True)
class Arch:
    """Everything that rebuilds a model and feeds it, weights apart.

    Attributes:
        reduction: how tokens leave inside it; None = none does.
        eval_precision: in which it is evaluated.
    """

    name: str
    kwargs: dict[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    reduction: Attached | None = None
    eval_precision: Precision = "float32"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model as data: architecture and weights under timm's parameter names."""

    arch: Arch
    state: dict[str, Tensor]


def create(cfg: ModelConfig, *, classes: int, channels: int, seed: int | None) -> Checkpoint:
    """Build a model and take its weights out.

    A weights file whose head has another number of classes, or that has none, gets a fresh head.

    Args:
        cfg: its weights are on this machine: true, false, or a file.
        classes: of the data set; `kwargs.num_classes` overrides it.
        channels: of the images; `kwargs.in_chans` overrides it.
        seed: of all random weights (the head, or everything).

    Raises:
        ModelError: unknown name, unusable kwargs, none of the families, or weights that do not
            fit or cannot be had.
    """
    kwargs = {"num_classes": classes, "in_chans": channels} | cfg.kwargs
    hub = cfg.pretrained is True
    with global_seed(seed or 0, "weights"):
        model = _timm(cfg.name, pretrained=hub, **kwargs)
    if isinstance(cfg.pretrained, Path):
        weights.load(model, cfg.pretrained)
    found = model.pretrained_cfg
    arch = Arch(
        name=cfg.name,
        kwargs=kwargs,
        mean=_per_channel(cfg.mean or found["mean"], kwargs["in_chans"]),
        std=_per_channel(cfg.std or found["std"], kwargs["in_chans"]),
        eval_precision=cfg.eval_precision,
    )
    return Checkpoint(arch, {n: t.detach().clone() for n, t in model.state_dict().items()})


def _timm(name: str, *, pretrained: bool, **kwargs: Any) -> Module:
    # Imported here, not above: it takes seconds, and whoever only plans does not need it.
    import timm

    refuse_unknown(name)
    try:
        model = timm.create_model(name, pretrained=pretrained, **kwargs)
    except BUILD_ERRORS as error:
        raise ModelError(
            f"model.kwargs: timm cannot build {name} from {kwargs}: {one_line(error)}"
        ) from error
    except (OSError, ImportError) as error:
        raise ModelError(
            f"model.pretrained: the weights of {name} cannot be fetched ({error}). Without a "
            "network, name a safetensors file or set HF_HOME to a filled cache."
        ) from error
    try:
        family_of(model)
    except ModelError as error:
        raise ModelError(f"model.name = {name} {error}") from None
    return model


def refuse_unknown(name: str) -> None:
    """Whether timm has a model and a set of weights of that name, and in a module that can be one.

    Raises:
        ModelError: it has not, or the model's module makes none that works. Nothing is built.
    """
    import timm

    known, _, tag = name.partition(".")
    if not timm.is_model(name):
        near = difflib.get_close_matches(known, timm.list_models(), n=3)
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise ModelError(f"model.name = {name}: timm {timm.__version__} has no such model{hint}")
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError:
        tags = [one.partition(".")[2] for one in timm.list_pretrained(f"{known}.*")]
        listed = f"; it has {', '.join(tags)}" if tags else ", and none under another name"
        raise ModelError(
            f"model.name = {name}: timm {timm.__version__} has no weights {tag} of {known}{listed}"
        ) from None
    home: str = timm.model_entrypoint(name).__module__
    if home.startswith("timm.") and home not in HOMES:
        raise ModelError(
            f"model.name = {name} is a {home.rpartition('.')[2]} of timm, which is none of its "
            "VisionTransformer, Eva and Beit: its patches cannot be left out. docs/models.md "
            "lists what works"
        )


def one_line(error: object) -> str:
    """What an error says, in one line of a readable length."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:297]}..."


def _per_channel(values: Sequence[float], channels: int) -> tuple[float, ...]:
    if len(values) == channels:
        return tuple(float(v) for v in values)
    if channels == 1 or len(values) == 1:
        return (sum(values) / len(values),) * channels
    raise ModelError(f"model.mean and model.std need {channels} values, one per channel")


def reducing(checkpoint: Checkpoint, config: ReductionConfig, seed: int) -> Checkpoint:
    """The same model with tokens that leave inside, and new predictors where the method has such.

    Args:
        seed: of the predictors' weights, and of what the method draws.

    Raises:
        ModelError: the method cannot reduce this model.
    """
    arch = replace(checkpoint.arch, reduction=Attached.of(config, seed))
    made = build_empty(replace(arch, reduction=None))
    attach(config, made, seed)
    # Of the same module, whose other tensors have no values.
    own = {n: t for n, t in made.state_dict().items() if n.startswith(PREDICTORS)}
    return Checkpoint(arch, checkpoint.state | own)


def whole(checkpoint: Checkpoint) -> Checkpoint:
    """The same model with all tokens staying: what plain timm makes of its weights."""
    state = {n: t for n, t in checkpoint.state.items() if not n.startswith(PREDICTORS)}
    return Checkpoint(replace(checkpoint.arch, reduction=None), state)


def build_empty(arch: Arch) -> Module:
    """A module that has its shapes and no weights (on the meta device)."""
    with torch.device("meta"), _undrawn():
        made = _timm(arch.name, pretrained=False, **arch.kwargs)
        if arch.reduction is not None:
            attach(arch.reduction.config, made, arch.reduction.seed)
        return made


VALUES = ("uniform_", "normal_", "erfinv_", "mul_", "add_", "div_", "clamp_", "zero_", "fill_")


@contextmanager
def _undrawn() -> Iterator[None]:
    """Tensors without values are not filled: that is most of the time that building them takes."""
    fillers = {getattr(torch.Tensor, name) for name in VALUES}

    class Undrawn(torch.overrides.TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func in fillers and args[0].is_meta:
                return args[0]
            return func(*args, **(kwargs or {}))

    with Undrawn():
        yield


def is_of_timm(name: str) -> bool:
    """Whether timm itself defines a model; another program may have entered its own."""
    import timm

    if not timm.is_model(name):
        return False
    module: str = timm.model_entrypoint(name).__module__
    return module.startswith("timm.")
