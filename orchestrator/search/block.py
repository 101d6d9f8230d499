"""One block of `search:` in a sweep file: its axes, and how trials are chosen."""

import math
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from orchestrator.search.space import Range, Settings, Values, combinations, drawn
from trials.arms import BASE_AXES, LOTUS, ArmName
from trials.config import Level
from trials.stage import StageConfig

AXES = (*BASE_AXES, "arm", "seed")
"""The axes with short names; any dotted configuration key is an axis too."""

RANGED = BASE_AXES
"""Short names that may be a range; so may any dotted key."""

Method = Literal["grid", "random", "optuna", "halving"]
Objective = Literal["accuracy", "macs", "sparsity"]
Fraction = Annotated[float, Field(ge=0.1, le=1)]
Seed = Annotated[int, Field(ge=0)]


def _schema_of_block(schema: dict[str, Any]) -> None:
    """Allow in the schema what `_collect` accepts: dotted keys, single values, and ranges."""
    schema["patternProperties"] = {r"\.": True}
    ranged = schema["properties"]["ranges"]["additionalProperties"]
    for axis in AXES:
        schema_of_axis = schema["properties"][axis]
        allowed = [schema_of_axis, schema_of_axis["items"], *([ranged] if axis in RANGED else [])]
        about = schema_of_axis.pop("description")
        schema["properties"][axis] = {"anyOf": allowed, "description": about}


def _is_range(value: Any) -> bool:
    """Whether a value is meant as a range; other mappings are values, as of `model.kwargs`."""
    return isinstance(value, Range) or (
        isinstance(value, dict) and bool({"low", "high"} & {*value})
    )


class SearchBlock(StageConfig):
    """One block of axes, and how trials are chosen from their combinations."""

    model_config = ConfigDict(json_schema_extra=_schema_of_block)

    method: Method = Field(
        "grid",
        description="grid: all combinations; random: `samples` of them; optuna: `samples` "
        "settings, each generation chosen by the results of those before; halving: all "
        "combinations (or `samples`), of which the best are trained on",
    )
    samples: int | None = Field(
        None, ge=1, description="for random: trials; for optuna, halving: settings of all seeds"
    )
    sampling_seed: int = Field(0, ge=0, description="of everything that is drawn")
    batch: int = Field(4, ge=1, description="optuna: settings that are chosen together")
    objectives: tuple[Objective, ...] = Field(
        ("accuracy", "macs", "sparsity"),
        description="optuna: what is improved, all at once; accuracy on validation and MACs are "
        "those of the patches that a trial keeps, the choice of the patches included",
    )
    reduction: int = Field(3, ge=2, description="halving: 1/reduction of a rung goes on")
    min_epochs: int = Field(1, ge=1, description="halving: fine-tuning epochs of the lowest rung")
    winners: int = Field(1, ge=1, description="halving: settings that are run in full")
    sparsity: tuple[Level | Literal["auto"], ...] = Field(
        (0.3,),
        min_length=1,
        description="one-shot levels: fraction of the prunable weights that the first mask "
        "removes; auto: the essential sparsity that the trial finds",
    )
    patch_drop: tuple[Level, ...] = Field(
        (0.1,), min_length=1, description="fraction of each image's patches that is dropped"
    )
    mask_data_fraction: tuple[Fraction, ...] = Field(
        (0.1,),
        min_length=1,
        description="fraction of the training images that the denoised mask is made from",
    )
    arm: tuple[ArmName, ...] = Field(
        (LOTUS,), min_length=1, description="which parts of LOTUS a trial runs"
    )
    seed: tuple[Seed, ...] = Field(
        (0,), min_length=1, description="a trial for each; what other seeds would do needs 3"
    )
    axes: dict[str, tuple[Any, ...]] = Field(
        default_factory=dict, description="any other configuration key, dotted: [values]"
    )
    ranges: dict[str, Range] = Field(
        default_factory=dict, description="axes written as {low, high}, for drawn methods"
    )

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, raw: Any) -> Any:
        """Move dotted keys to `axes` and ranges to `ranges`; make single values lists."""
        if not isinstance(raw, dict):
            return raw
        block = dict(raw)
        if not all(isinstance(block.get(axis) or {}, dict) for axis in ("axes", "ranges")):
            return raw
        axes, ranges = dict(block.get("axes") or {}), dict(block.get("ranges") or {})
        for axis in [key for key in block if isinstance(key, str) and "." in key]:
            axes[axis] = block.pop(axis)
        for axis in AXES:
            if axis in block and isinstance(block[axis], str | int | float):
                block[axis] = [block[axis]]
        ranges |= {axis: block.pop(axis) for axis in RANGED if isinstance(block.get(axis), dict)}
        ranges |= {axis: axes.pop(axis) for axis in list(axes) if _is_range(axes[axis])}
        if axes:
            block["axes"] = {k: v if isinstance(v, list) else [v] for k, v in axes.items()}
        if ranges:
            block["ranges"] = ranges
        return block

    @property
    def further(self) -> tuple[str, ...]:
        """The axes without a short name."""
        return (*self.axes, *(axis for axis in self.ranges if axis not in AXES))

    def values(self, axis: str) -> Values:
        """The values or the range of one axis."""
        if axis in self.ranges:
            return self.ranges[axis]
        listed: tuple[Any, ...] = self.axes[axis] if axis in self.axes else getattr(self, axis)
        return listed

    def extremes(self, axis: str) -> tuple[Any, ...]:
        """The values of an axis, or the ends of its range, to be checked beforehand."""
        values = self.values(axis)
        return (values.low, values.high) if isinstance(values, Range) else values

    def space(self, *, seeds: bool = True) -> dict[str, Values]:
        """All axes with their values; without seeds, the axes of a setting."""
        axes = [*AXES, *self.further]
        return {axis: self.values(axis) for axis in axes if seeds or axis != "seed"}

    def points(self) -> list[Settings]:
        """The trials of a grid, or a reproducible random part of them."""
        if self.method == "random":
            return drawn(self.space(), self.samples or 1, self.sampling_seed)
        return combinations(self.space())

    def candidates(self) -> list[Settings]:
        """The settings without seeds between which halving decides."""
        space = self.space(seeds=False)
        if self.samples is None:
            return combinations(space)
        return drawn(space, self.samples, self.sampling_seed)

    def size(self) -> int:
        """Number of combinations before equal trials are merged; with ranges, of draws."""
        if self.method == "optuna" or self.ranges:
            return (self.samples or 1) * (1 if self.method == "random" else len(self.seed))
        return math.prod(len(self.extremes(axis)) for axis in self.space())
