"""The only training loop.

All randomness is a function of (seed, purpose, epoch): nothing but weights, optimizer and
history has to be saved to continue bit for bit.

A step looks into no tensor and sends nothing to the device, so that a GPU never waits for the host
(`tests/trials/test_devices.py`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from trials.context import Context, Epoch, Outcomes, Progress
from trials.data.datasets import Dataset
from trials.errors import StageInputError
from trials.lazy import torch
from trials.model.module import Model
from trials.seeding import generator, global_seed
from trials.sparsity.masks import KeepMask
from trials.tokens import tickets
from trials.tokens.patches import Patches
from trials.training import snapshots
from trials.training.batches import Batch, Batches
from trials.training.budget import Span, step_images
from trials.training.evaluation import evaluate, total
from trials.training.groups import HELD, SCALE, freeze_all_but_the_head, groups, train_mode
from trials.training.masking import Masking
from trials.training.moments import moments_of, steps_of, take_moments
from trials.training.objective import Objective, Seen
from trials.training.recipe import TrainConfig
from trials.training.reducing import Reducing, objective_of
from trials.training.snapshots import Expected, Saved

if TYPE_CHECKING:
    from torch import Tensor

H = TypeVar("H")


@dataclass(slots=True)
class Trainer:
    """One training run: a model, its data and recipe.

    Attributes:
        model: on the context's device; trained in place.
        subset: indices of the training images to use; None = all.
        keep: masked weights are exactly 0 before the first and after every step.
        patches: which patches the model trains on; None = all.
        teacher: a dense model for distillation; None = cross-entropy only.
        distill: weight of KL(teacher || model) in the loss, in [0, 1].
        head_only: a linear probe: all but the head stays as it is, in eval mode.
        span: where this training lies in a longer schedule; None = the schedule is its own. It says
            how many steps there are, whatever the epochs: the last one may be a part of one.
        moments: with which the optimizer starts, of the training before; empty = none.
        reducing: how tokens leave inside the model, which carries a reducer; None = none does.
        validation: what the model gets right after the last epoch; None before the first.
    """

    model: Model
    data: Dataset
    cfg: TrainConfig
    ctx: Context
    seed: int
    subset: Tensor | None = None
    keep: KeepMask | None = None
    patches: Patches | None = None
    teacher: Model | None = None
    distill: float = 0.0
    head_only: bool = False
    span: Span | None = None
    moments: Mapping[str, Tensor] = field(default_factory=dict)
    reducing: Reducing | None = None
    validation: Outcomes | None = field(init=False, default=None)
    _optimizer: torch.optim.AdamW = field(init=False)
    _masking: Masking = field(init=False)
    _batches: Batches = field(init=False)
    _objective: Objective = field(init=False)
    _numbers: dict[str, float] = field(init=False, default_factory=dict)
    _total: int = field(init=False, default=0)
    _done: int = field(init=False, default=0)
    _held: int = field(init=False, default=0)
    _history: list[Epoch] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        if self.patches is not None:
            self.patches.refuse_broken_grid(self.cfg.crop)
        module = self.model.module
        if self.head_only:
            freeze_all_but_the_head(module)
        reducing, device = self.reducing, self.ctx.device
        self._objective = objective_of(reducing, self.cfg, device, self.teacher, self.distill)
        if reducing is not None:
            reducing.freeze(self.model)
        others = 1.0 if reducing is None else reducing.others
        made = groups(module, self.cfg, self.cfg.weight_decay, others=others)
        self._optimizer = torch.optim.AdamW(made, lr=self.cfg.lr, fused=True)
        self._masking = Masking.of(dict(module.named_parameters()), self.keep or {})
        self._masking.apply()
        self._batches = Batches(self.cfg, self.ctx, self.patches, self.model.columns)
        if self.moments:
            take_moments(self._optimizer, self.moments)

    def epochs(self, count: int, stop: int | None = None) -> tuple[Epoch, ...]:
        """Train for whole epochs, evaluate after each, continue from a snapshot if there is one.

        Args:
            count: epochs of the schedule.
            stop: end after this many of them; None = after all.

        Raises:
            StageInputError: the loss is not finite.
        """
        self._total = count * self._per_epoch if self.span is None else self.span.steps
        self._held = 0 if self.reducing is None else self.reducing.held(count) * self._per_epoch
        end = self._total if stop is None else min(stop * self._per_epoch, self._total)
        until = math.ceil(end / self._per_epoch)
        history = self._restored(snapshots.read_epoch, end)
        history = list(self._history) if history is None else history
        while len(history) < until:
            epoch, before = len(history), self._done
            start = time.perf_counter()
            loss = self._steps(epoch, end - before)
            self.ctx.synchronise()
            seconds = time.perf_counter() - start
            outcomes = evaluate(self.model, self.data, "validation", self.ctx)
            self.validation = outcomes
            images = step_images(self._done - before, self.images, self.cfg.batch_size)
            speed, numbers = images / max(seconds, 1e-9), dict(self._numbers)
            if self.reducing is not None:
                numbers |= self.reducing.scheduled(self.model, self.data, self.ctx, epoch + 1)
            history.append(Epoch(loss, outcomes.loss, outcomes.accuracy, speed, numbers))
            self.ctx.progress(Progress("epoch", len(history), until, history[-1]))
            if len(history) < until:
                self._snapshot([asdict(epoch) for epoch in history])
        return tuple(history)

    def steps(self, count: int) -> float:
        """Train for a number of steps, over as many epochs as they need; the mean loss, 0 of none.

        Continues from a snapshot if there is one, which is saved after every whole epoch.

        Raises:
            StageInputError: the loss is not finite.
        """
        self._total = count
        losses = self._restored(snapshots.read_number, count) or []
        while self._done < count:
            losses.append(self._steps(len(losses), count - self._done))
            if self._done < count:
                self._snapshot(losses)
        whole, left = divmod(count, self._per_epoch)
        steps = [self._per_epoch] * whole + [left] * bool(left)
        return sum(loss * n for loss, n in zip(losses, steps, strict=True)) / max(count, 1)

    @property
    def _rate(self) -> float:
        """Factor on the learning rate of the next step."""
        if self.span is None:
            return self.cfg.rate(self._done, self._total)
        return self.cfg.rate(self.span.first + self._done, self.span.total)

    @property
    def images(self) -> int:
        """Training images of an epoch."""
        return len(self.data.train) if self.subset is None else len(self.subset)

    @property
    def _per_epoch(self) -> int:
        """Optimizer steps of a whole epoch."""
        return math.ceil(self.images / self.cfg.batch_size)

    def _rows(self, epoch: int, most: int | None) -> Tensor:
        """Which training images an epoch sees, in its order, on the host."""
        order = torch.randperm(self.images, generator=generator(self.seed, "order", epoch))
        order = order if most is None else order[: most * self.cfg.batch_size]
        return order if self.subset is None else self.subset[order]

    def _steps(self, epoch: int, most: int | None = None) -> float:
        """Train for an epoch, or for its first steps; the mean loss of an image."""
        self.data.on(self.ctx.device, "train")  # placed before the first step, and not by it
        rows = self._rows(epoch, most)
        draw = generator(self.seed, "augment", epoch)
        losses: list[Tensor] = []
        odd: list[Tensor] = []
        numbers: list[Tensor] = []
        inside = None if self.reducing is None else self.reducing.noise(self.model, epoch)
        apart = self.patches is not None and self.patches.apart
        chosen = generator(self.seed, "patches", epoch) if apart else None
        train_mode(self.model.module, head_only=self.head_only)
        with global_seed(self.seed, "dropout", epoch):
            for batch in self._batches.of(rows, draw, inside, chosen):
                loss, own = self._step(batch, odd)
                losses.append(loss * len(batch))
                numbers += [] if own is None else [own * len(batch)]
        self.model.module.eval()
        if odd and bool(torch.stack(odd).any()):
            raise tickets.nan_scores()
        mean = total(losses) / len(rows)
        if not math.isfinite(mean):
            advice = "" if self.reducing is None else self.reducing.advice(self.cfg)
            raise StageInputError(
                f"the training loss became {mean} in epoch {epoch + 1}: lower `lr` "
                f"(now {self.cfg.lr}) or set `grad_clip`{advice}"
            )
        means = torch.stack(numbers).sum(0).div(len(rows)).cpu().tolist() if numbers else []
        self._numbers = dict(zip(self._objective.names, means, strict=bool(means)))
        return mean

    def _gathered(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The images of a batch as the model takes them, and their labels."""
        images, labels = self.data.on(self.ctx.device, "train")
        # Images that do not fit on the device are indexed where they are.
        rows = batch.rows if isinstance(images, torch.Tensor) else batch.on_host
        moved = batch.moves.move(images[rows], self.cfg.crop)
        return self.model.inputs(moved), labels[batch.rows]

    def _step(self, batch: Batch, odd: list[Tensor]) -> tuple[Tensor, Tensor | None]:
        """One optimizer step; the mean loss of the batch and its other numbers, on the device.

        Args:
            odd: takes whether scores are NaN, which nobody looks at before the epoch ends.
        """
        x, labels = self._gathered(batch)
        kept = batch.kept
        if kept is not None and batch.counts is not None and self.patches is not None:
            kept, nan = self.patches.scored(x, batch.counts, kept)
            odd.append(nan)
        for group in self._optimizer.param_groups:
            held = group[HELD] and self._done < self._held
            group["lr"] = self.cfg.lr * (0.0 if held else self._rate) * group[SCALE]
        self._optimizer.zero_grad(set_to_none=True)
        done = self._done / self._per_epoch
        now = None if self.reducing is None else self.reducing.at(done)
        loss, numbers = self._backward(Seen(x, labels, kept, batch.noise, now))
        if self.cfg.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.module.parameters(), self.cfg.grad_clip)
        self._optimizer.step()
        # After every step: momentum, weight decay and averages would leak into masked weights.
        self._masking.apply()
        self._done += 1
        return loss, numbers

    def _backward(self, seen: Seen) -> tuple[Tensor, Tensor | None]:
        """Add up the gradients of a batch's mean loss, as many images at once as may be.

        All draws have been made, so nothing but rounding depends on where the batch is cut. Gives
        that loss and the objective's other numbers.
        """
        losses, numbers = [], []
        parts = seen.cut(self.ctx.at_once(len(seen)))
        whole = self._objective.whole(self.model, parts)
        for part in parts:
            share = len(part) / len(seen)
            found, own = self._objective(self.model, part, whole)
            loss = found * share
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            numbers += [] if own is None else [own * share]
        return torch.stack(losses).sum(), torch.stack(numbers).sum(0) if numbers else None

    @property
    def _training(self) -> dict[str, Any]:
        """What tells this training from another one that a state may have been saved of."""
        recipe = self.cfg.model_dump(mode="json")
        own = {"recipe": recipe, "seed": self.seed, "images": self.images, "total": self._total}
        return own if self.span is None else own | {"span": self.span.model_dump(mode="json")}

    def _snapshot(self, history: list[Any]) -> None:
        state = Saved(self.model.module.state_dict(), self.optimizer_state(), history, self._done)
        snapshots.save(self.ctx.snapshots, self._training, state)

    def _restored(self, read: Callable[[Any], H], end: int) -> list[H] | None:
        """Take up what was saved, if it was and fits; its history."""
        groups = self._optimizer.param_groups
        expected = Expected(
            training=self._training,
            model=self.model.module.state_dict(),
            parameters=[p for group in groups for p in group["params"]],
            read=read,
            steps=self._per_epoch,
            span=(self._done, end),
            before=steps_of(self.moments),
        )
        if (found := snapshots.load(self.ctx.snapshots, expected)) is None:
            return None
        self._take(found.model, found.optimizer, found.done)
        return found.history

    def optimizer_state(self) -> dict[str, Tensor]:
        """See `trials.training.moments`."""
        return moments_of(self._optimizer)

    @property
    def done(self) -> int:
        """Optimizer steps so far."""
        return self._done

    def resume(
        self,
        model: Mapping[str, Tensor],
        moments: Mapping[str, Tensor],
        history: Sequence[Epoch],
        done: int,
    ) -> None:
        """Go on from where a training of the same recipe stood after its last whole epoch.

        Args:
            moments: see `optimizer_state`.
            done: optimizer steps that it had made.
        """
        self._take(model, moments, done)
        self._history = list(history)

    def _take(self, model: Mapping[str, Tensor], moments: Mapping[str, Tensor], done: int) -> None:
        self.model.module.load_state_dict(model)
        take_moments(self._optimizer, moments)
        self._done = done
