"""One block of `search:` in a sweep file: axes, and how trials are chosen from them."""

import math
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from orchestrator.search.space import Range, Settings, Values, combinations, drawn
from trials.arms import BASE_AXES, LOTUS, ArmName
from trials.config import Level
from trials.stage import StageConfig

AXES = (*BASE_AXES, "arm", "seed")
"""The axes with short names; any dotted configuration key is one too."""

RANGED = BASE_AXES
"""The short ones that may be a range; so may any dotted key."""

Method = Literal["grid", "random", "optuna", "halving"]
Objective = Literal["accuracy", "macs", "sparsity"]
Fraction = Annotated[float, Field(ge=0.1, le=1)]
Seed = Annotated[int, Field(ge=0)]


def _schema_of_block(schema: dict[str, Any]) -> None:
    """What `_collect` allows: dotted keys, one value in place of a list, and ranges."""
    schema["patternProperties"] = {r"\.": True}
    ranged = schema["properties"]["ranges"]["additionalProperties"]
    for name in AXES:
        values = schema["properties"][name]
        allowed = [values, values["items"], *([ranged] if name in RANGED else [])]
        schema["properties"][name] = {"anyOf": allowed}


def _is_range(value: Any) -> bool:
    """A mapping that can only be meant as a range; others are values, as of `model.kwargs`."""
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
    sparsity: tuple[Level | Literal["auto"], ...] = Field((0.3,), min_length=1)
    patch_drop: tuple[Level, ...] = Field((0.1,), min_length=1)
    mask_data_fraction: tuple[Fraction, ...] = Field((0.1,), min_length=1)
    arm: tuple[ArmName, ...] = Field((LOTUS,), min_length=1)
    seed: tuple[Seed, ...] = Field((0,), min_length=1)
    axes: dict[str, tuple[Any, ...]] = Field(
        default_factory=dict, description="any other configuration key, dotted: [values]"
    )
    ranges: dict[str, Range] = Field(
        default_factory=dict, description="axes written as {low, high}, for drawn methods"
    )

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, raw: Any) -> Any:
        """Dotted keys become `axes`, ranges `ranges`; a single value becomes a list of one."""
        if not isinstance(raw, dict):
            return raw
        found = dict(raw)
        if not all(isinstance(found.get(name) or {}, dict) for name in ("axes", "ranges")):
            return raw
        axes, ranges = dict(found.get("axes") or {}), dict(found.get("ranges") or {})
        for name in [key for key in found if isinstance(key, str) and "." in key]:
            axes[name] = found.pop(name)
        for name in AXES:
            if name in found and isinstance(found[name], str | int | float):
                found[name] = [found[name]]
        ranges |= {name: found.pop(name) for name in RANGED if isinstance(found.get(name), dict)}
        ranges |= {name: axes.pop(name) for name in list(axes) if _is_range(axes[name])}
        if axes:
            found["axes"] = {k: v if isinstance(v, list) else [v] for k, v in axes.items()}
        if ranges:
            found["ranges"] = ranges
        return found

    @property
    def further(self) -> tuple[str, ...]:
        """The axes without a short name."""
        return (*self.axes, *(name for name in self.ranges if name not in AXES))

    def values(self, name: str) -> Values:
        """What one axis may be."""
        if name in self.ranges:
            return self.ranges[name]
        found: tuple[Any, ...] = self.axes[name] if name in self.axes else getattr(self, name)
        return found

    def extremes(self, name: str) -> tuple[Any, ...]:
        """The values of an axis, or the ends of its range: what is checked beforehand."""
        found = self.values(name)
        return (found.low, found.high) if isinstance(found, Range) else found

    def space(self, *, seeds: bool = True) -> dict[str, Values]:
        """All axes with their values; without seeds, the axes of a setting."""
        names = [*AXES, *self.further]
        return {name: self.values(name) for name in names if seeds or name != "seed"}

    def points(self) -> list[Settings]:
        """The trials of a grid, or a random part of them, always the same one."""
        if self.method == "random":
            return drawn(self.space(), self.samples or 1, self.sampling_seed)
        return combinations(self.space())

    def candidates(self) -> list[Settings]:
        """The settings, seeds left out, between which halving decides."""
        space = self.space(seeds=False)
        if self.samples is None:
            return combinations(space)
        return drawn(space, self.samples, self.sampling_seed)

    def size(self) -> int:
        """Number of combinations before equal trials are merged; of drawn ranges, of draws."""
        if self.method == "optuna" or self.ranges:
            return (self.samples or 1) * (1 if self.method == "random" else len(self.seed))
        return math.prod(len(self.extremes(name)) for name in self.space())
