"""The state of an unfinished training: saved after whole epochs, taken up only where it fits.

Whatever does not fit is refused with a warning and computed again: a lost state costs time, a
wrong one would be a wrong result.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from trials.context import Context, Epoch, Snapshots
from trials.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

H = TypeVar("H")
State = tuple[dict[str, "Tensor"], dict[str, Any]]
"""Tensors and plain values, as `Snapshots` has them."""

MOMENTS = ("exp_avg", "exp_avg_sq")


class MisfitError(Exception):
    """A saved state is not one of this training."""


@dataclass(frozen=True, slots=True)
class Saved(Generic[H]):
    """A training after a whole epoch.

    Attributes:
        optimizer: see `trials.training.train.Trainer.optimizer_state`.
        history: one entry an epoch, plain values where it is saved.
        done: optimizer steps so far.
    """

    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    history: list[H]
    done: int


@dataclass(frozen=True, slots=True)
class Expected(Generic[H]):
    """What a saved state has to fit.

    Attributes:
        training: plain values that name the training: seed, recipe, number of images.
        model: the state of the model that is trained.
        parameters: in the order of the optimizer.
        read: one entry of the history; raises when it is none.
        steps: optimizer steps of a whole epoch.
        span: steps that were made before, and at which nothing would be left to do.
        before: steps of the optimizer before this training, whose moments it went on with.
    """

    training: Mapping[str, Any]
    model: Mapping[str, Tensor]
    parameters: list[Tensor]
    read: Callable[[Any], H]
    steps: int
    span: tuple[int, int]
    before: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """The snapshots of one training in a stage that has several: saved beside what is finished.

    Attributes:
        whole: of the stage.
        finished: what the trainings before this one gave.
        found: where this training stood when the stage was interrupted; None = not begun.
    """

    whole: Snapshots
    finished: State
    found: State | None

    def load(self) -> State | None:
        """Where this training stood."""
        return self.found

    def save(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Replace what was saved before, what is finished included."""
        stage_tensors, stage_values = self.finished
        named = {f"stage.{name}": tensor for name, tensor in stage_tensors.items()}
        named |= {f"training.{name}": tensor for name, tensor in tensors.items()}
        self.whole.save(named, {"stage": stage_values, "training": dict(values)})


def inside(ctx: Context, finished: State, found: State | None) -> Context:
    """How one training runs in a stage that has several; arguments as `Part`."""
    if ctx.snapshots is None:
        return ctx
    return replace(ctx, snapshots=Part(ctx.snapshots, finished, found))


def save_finished(where: Snapshots | None, finished: State) -> None:
    """Save a stage of several trainings between two of them."""
    if where is not None:
        tensors, values = finished
        named = {f"stage.{name}": tensor for name, tensor in tensors.items()}
        where.save(named, {"stage": values, "training": None})


def load_finished(where: Snapshots | None) -> tuple[State, State | None] | None:
    """What of a stage is finished, and where the training stood that was not.

    None when nothing was saved. It is the stage's to check that it fits (`refused`).
    """
    saved = where.load() if where is not None else None
    if saved is None:
        return None
    tensors, values = saved
    if (
        not isinstance(values, dict)
        or set(values) != {"stage", "training"}
        or not isinstance(values["stage"], dict)
    ):
        refused("it was saved by another kind of stage")
        return None
    finished = cut(tensors, "stage"), values["stage"]
    if not isinstance(values["training"], dict):
        return finished, None
    return finished, (cut(tensors, "training"), values["training"])


def _part(values: object, name: str) -> dict[str, Any] | None:
    found = values.get(name) if isinstance(values, dict) else None
    return found if isinstance(found, dict) else None


def refused(reason: object) -> None:
    """Warn that a training starts over."""
    warnings.warn(
        f"a saved state does not fit this training, which starts over: {reason}", stacklevel=3
    )


def cut(tensors: Mapping[str, Tensor], head: str) -> dict[str, Tensor]:
    """Those whose names begin with `head` and a dot, without it."""
    start = f"{head}."
    return {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}


def save(where: Snapshots | None, training: Mapping[str, Any], state: Saved[Any]) -> None:
    """Save a training after a whole epoch."""
    if where is None:
        return
    tensors = {f"model.{name}": tensor for name, tensor in state.model.items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in state.optimizer.items()}
    values = {"training": dict(training), "history": state.history, "done": state.done}
    where.save(tensors, values)


def load(where: Snapshots | None, expected: Expected[H]) -> Saved[H] | None:
    """What was saved last; None when there is nothing, or, with a warning, when it does not fit."""
    saved = where.load() if where is not None else None
    if saved is None:
        return None
    try:
        return _fitting(*saved, expected)
    except MisfitError as error:
        refused(error)
        return None


def _fitting(tensors: dict[str, Tensor], values: dict[str, Any], expected: Expected[H]) -> Saved[H]:
    if not isinstance(values, dict) or values.get("training") != json.loads(
        json.dumps(dict(expected.training))
    ):
        raise MisfitError("it is of other settings, another seed or other images")
    history, done = _history(values, expected)
    model, optimizer = cut(tensors, "model"), cut(tensors, "optimizer")
    if len(model) + len(optimizer) != len(tensors):
        raise MisfitError("it holds tensors that are neither of the model nor of the optimizer")
    check_like(model, expected.model)
    _check_optimizer(optimizer, expected.parameters, expected.before + done)
    return Saved(model, optimizer, history, done)


def _history(values: Mapping[str, Any], expected: Expected[H]) -> tuple[list[H], int]:
    try:
        history = [expected.read(one) for one in values["history"]]
    except (TypeError, ValueError, KeyError) as error:
        raise MisfitError(f"its learning curve cannot be read ({error!r})") from None
    done, (before, end) = values.get("done"), expected.span
    # One entry a whole epoch, every one of the same number of steps.
    if type(done) is not int or done != len(history) * expected.steps:
        raise MisfitError(f"{done} steps are not {len(history)} epochs of {expected.steps}")
    if not before <= done < end:
        raise MisfitError(f"it stands at step {done}, which is not between {before} and {end}")
    return history, done


def check_like(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise unless names, shapes and types are equal and all numbers finite.

    Raises:
        MisfitError: they are not.
    """
    if odd := found.keys() ^ wanted.keys():
        raise MisfitError(f"tensors are missing or too many: {sorted(odd)[:3]}")
    for name, tensor in found.items():
        like = wanted[name]
        if (tensor.shape, tensor.dtype) != (like.shape, like.dtype):
            raise MisfitError(
                f"{name} is {tensor.dtype} {tuple(tensor.shape)}, "
                f"not {like.dtype} {tuple(like.shape)}"
            )
        if not bool(tensor.isfinite().all()):
            raise MisfitError(f"{name} holds values that are not finite")


def _check_optimizer(found: Mapping[str, Tensor], parameters: list[Tensor], done: int) -> None:
    numbers = {name.partition(".")[0] for name in found}
    wanted: dict[str, Tensor] = {}
    for number, parameter in enumerate(parameters):
        if str(number) in numbers:  # a parameter without a gradient has no state
            wanted |= {f"{number}.{moment}": parameter for moment in MOMENTS}
            wanted[f"{number}.step"] = torch.zeros(())
    check_like(found, wanted)
    if odd := [name for name in found if name.endswith(".step") and float(found[name]) != done]:
        raise MisfitError(f"the optimizer's {odd[0]} is not the step {done} of the training")


def read_number(saved: Any) -> float:
    """A finite number of a saved state.

    Raises:
        ValueError: it is none.
    """
    if type(saved) not in (int, float) or not math.isfinite(saved):
        raise ValueError(f"{saved!r} is not a finite number")
    return float(saved)


def read_epoch(saved: Any) -> Epoch:
    """One line of a learning curve of a saved state.

    Raises:
        TypeError, ValueError: it is none.
    """
    values = dict(saved)
    numbers = dict(values.pop("numbers", {}))
    plain = {name: read_number(value) for name, value in values.items()}
    return Epoch(**plain, numbers={name: read_number(value) for name, value in numbers.items()})
