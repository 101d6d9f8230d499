"""The weights that everything starts from: timm's, a file's, or random ones."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from trials.context import Context
from trials.data.datasets import Dataset
from trials.model import vit
from trials.model.capability import of_arch
from trials.model.repository import Remote
from trials.model.vit import Checkpoint, ModelConfig
from trials.precision import Precision
from trials.stage import Later, StageConfig, stage


class PretrainedConfig(StageConfig):
    """A model without the path of its weights: those are known by their digest."""

    name: str
    weights: Literal["hub", "file", "random"]
    kwargs: dict[str, Any] = Field(default_factory=dict)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    eval_precision: Annotated[Precision, Later()] = "float32"

    @classmethod
    def of(
        cls, model: ModelConfig, part: Callable[..., "PretrainedConfig"] = StageConfig.part
    ) -> "PretrainedConfig":
        """The identity of a model section.

        Args:
            part: takes its fields; a planner's gives equal ones as one object.
        """
        weights: Literal["hub", "file", "random"] = "hub" if model.pretrained is True else "random"
        if isinstance(model.pretrained, Path | str):
            weights = "file"
        return part(model, cls, weights=weights)


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A model that has not seen this data set, but for its fresh head."""

    checkpoint: Checkpoint


@stage("pretrained", version=1)
def pretrained(
    cfg: PretrainedConfig,
    ctx: Context,
    *,
    seed: int | None,
    data: Dataset,
    weights: Path | Remote | None,
) -> Pretrained:
    """Create the timm model with as many classes and channels as the data has.

    Args:
        seed: of random weights, a fresh head included; None when there are none.
        weights: safetensors file for `cfg.weights == "file"`, here or on the hub.

    Raises:
        ModelError: the model or its weights cannot be used.
    """
    source: bool | Path = cfg.weights == "hub"
    if cfg.weights == "file" and weights is not None:
        source = weights.local() if isinstance(weights, Remote) else weights
    model = cfg.part(ModelConfig, pretrained=source)
    made = vit.create(model, classes=data.classes, channels=data.channels, seed=seed)
    of_arch(made.arch)  # refuses a model whose patches do not stay apart
    return Pretrained(made)
