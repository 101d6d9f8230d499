"""The only training loop.

All randomness is a function of (seed, purpose, epoch): nothing but weights, optimizer and
history has to be saved to continue bit for bit.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from trials.context import Context, Epoch, Outcomes, Progress
from trials.data.datasets import Dataset
from trials.data.images import chosen
from trials.errors import StageInputError
from trials.lazy import F, torch
from trials.model.module import Model
from trials.seeding import generator, global_seed
from trials.sparsity.masks import KeepMask
from trials.tokens.kept import Kept
from trials.tokens.patches import Patches, augment
from trials.training import snapshots
from trials.training.evaluation import evaluate
from trials.training.groups import SCALE, freeze_all_but_the_head, groups, train_mode
from trials.training.recipe import TrainConfig
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
    validation: Outcomes | None = field(init=False, default=None)
    _optimizer: torch.optim.AdamW = field(init=False)
    _dropped: list[tuple[Tensor, Tensor]] = field(init=False)
    _total: int = field(init=False, default=0)
    _done: int = field(init=False, default=0)
    _history: list[Epoch] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        if self.patches is not None:
            self.patches.refuse_broken_grid(self.cfg.crop)
        module = self.model.module
        if self.head_only:
            freeze_all_but_the_head(module)
        made = groups(module, self.cfg, self.cfg.weight_decay)
        self._optimizer = torch.optim.AdamW(made, lr=self.cfg.lr, fused=True)
        named = dict(module.named_parameters())
        self._dropped = [
            (named[name], ~keep.to(self.ctx.device)) for name, keep in (self.keep or {}).items()
        ]
        self._zero_masked()

    def epochs(self, count: int, stop: int | None = None) -> tuple[Epoch, ...]:
        """Train for whole epochs, evaluate after each, continue from a snapshot if there is one.

        Args:
            count: epochs of the schedule.
            stop: end after this many of them; None = after all.

        Raises:
            StageInputError: the loss is not finite.
        """
        self._total = count * self._per_epoch
        until = count if stop is None else min(stop, count)
        history = self._restored(snapshots.read_epoch, until * self._per_epoch)
        history = list(self._history) if history is None else history
        while len(history) < until:
            epoch = len(history)
            start = time.perf_counter()
            loss = self._steps(self._batches(epoch), epoch)
            self.ctx.synchronise()
            seconds = time.perf_counter() - start
            outcomes = evaluate(self.model, self.data, "validation", self.ctx)
            self.validation = outcomes
            history.append(
                Epoch(loss, outcomes.loss, outcomes.accuracy, self._images / max(seconds, 1e-9))
            )
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
            batches = itertools.islice(self._batches(len(losses)), count - self._done)
            losses.append(self._steps(batches, len(losses)))
            if self._done < count:
                self._snapshot(losses)
        whole, left = divmod(count, self._per_epoch)
        steps = [self._per_epoch] * whole + [left] * bool(left)
        return sum(loss * n for loss, n in zip(losses, steps, strict=True)) / max(count, 1)

    @property
    def _images(self) -> int:
        return len(self.data.train) if self.subset is None else len(self.subset)

    @property
    def _per_epoch(self) -> int:
        """Optimizer steps of a whole epoch."""
        return math.ceil(self._images / self.cfg.batch_size)

    def _batches(self, epoch: int) -> Iterator[Tensor]:
        order = torch.randperm(self._images, generator=generator(self.seed, "order", epoch))
        return iter(torch.split(order, self.cfg.batch_size))

    def _steps(self, batches: Iterator[Tensor], epoch: int) -> float:
        images, labels = self.data.on(self.ctx.device, "train")
        draw = generator(self.seed, "augment", epoch)
        total = torch.zeros((), device=self.ctx.device, dtype=torch.float64)
        seen = 0
        train_mode(self.model.module, head_only=self.head_only)
        with global_seed(self.seed, "dropout", epoch):
            for batch in batches:
                rows = batch if self.subset is None else self.subset[batch]
                own = labels[rows.to(self.ctx.device)]
                loss = self._step(chosen(images, rows), own, rows, draw)
                total += loss * len(batch)
                seen += len(batch)
        self.model.module.eval()
        mean = float(total) / seen
        if not math.isfinite(mean):
            raise StageInputError(
                f"the training loss became {mean} in epoch {epoch + 1}: lower `lr` "
                f"(now {self.cfg.lr}) or set `grad_clip`"
            )
        return mean

    def _step(self, images: Tensor, labels: Tensor, rows: Tensor, draw: torch.Generator) -> Tensor:
        images, mirrored = augment(images, self.cfg.flip, self.cfg.crop, draw)
        x = self.model.inputs(images)
        kept = self._kept(rows, x, mirrored, draw)
        for group in self._optimizer.param_groups:
            group["lr"] = self.cfg.lr * self.cfg.rate(self._done, self._total) * group[SCALE]
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._backward(x, labels, kept)
        if self.cfg.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.module.parameters(), self.cfg.grad_clip)
        self._optimizer.step()
        self._zero_masked()
        self._done += 1
        return loss

    def _kept(
        self, rows: Tensor, x: Tensor, mirrored: Tensor, draw: torch.Generator
    ) -> Kept | None:
        if self.patches is None:
            return None
        return self.patches.kept(rows, x, mirrored, self.model.columns, draw)

    def _backward(self, x: Tensor, labels: Tensor, kept: Kept | None) -> Tensor:
        """Add up the gradients of a batch's mean loss, as many images at once as may be; that loss.

        All draws have been made, so nothing but rounding depends on where the batch is cut.
        """
        kept = kept.to(self.ctx.device) if kept is not None else None
        at_once = self.ctx.at_once(len(x))
        losses = []
        for start in range(0, len(x), at_once):
            part = slice(start, start + at_once)
            own = None if kept is None else kept[part]
            share = len(x[part]) / len(x)
            loss = self._loss(x[part], labels[part], own) * share
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _loss(self, x: Tensor, labels: Tensor, kept: Kept | None) -> Tensor:
        with _autocast(self.cfg.precision, self.ctx.device):
            logits = self.model(x, kept)
            loss = F.cross_entropy(logits.float(), labels, label_smoothing=self.cfg.label_smoothing)
            if self.teacher is None or self.distill == 0.0:
                return loss
            with torch.no_grad():
                target = self.teacher(x).float().log_softmax(-1)
        own = logits.float().log_softmax(-1)
        divergence = F.kl_div(own, target, log_target=True, reduction="batchmean")
        return (1 - self.distill) * loss + self.distill * divergence

    def _zero_masked(self) -> None:
        # After every step: momentum, weight decay and averages would leak into masked weights.
        with torch.no_grad():
            for parameter, dropped in self._dropped:
                parameter.masked_fill_(dropped, 0.0)

    @property
    def _training(self) -> dict[str, Any]:
        """What tells this training from another one that a state may have been saved of."""
        recipe = self.cfg.model_dump(mode="json")
        return {"recipe": recipe, "seed": self.seed, "images": self._images, "total": self._total}

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
        )
        if (found := snapshots.load(self.ctx.snapshots, expected)) is None:
            return None
        self._take(found.model, found.optimizer, found.done)
        return found.history

    def optimizer_state(self) -> dict[str, Tensor]:
        """The optimizer's tensors, as `<parameter number>.<name>`, in that order."""
        # Sorted, or the order after a resumption would be that in which they were loaded.
        state = sorted(self._optimizer.state_dict()["state"].items())
        return {f"{i}.{name}": own[name] for i, own in state for name in sorted(own)}

    @property
    def done(self) -> int:
        """Optimizer steps so far."""
        return self._done

    def resume(
        self,
        model: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        history: Sequence[Epoch],
        done: int,
    ) -> None:
        """Go on from where a training of the same recipe stood after its last whole epoch.

        Args:
            optimizer: see `optimizer_state`.
            done: optimizer steps that it had made.
        """
        self._take(model, optimizer, done)
        self._history = list(history)

    def _take(
        self, model: Mapping[str, Tensor], optimizer: Mapping[str, Tensor], done: int
    ) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in optimizer.items():
            number, _, field_name = name.partition(".")
            state.setdefault(int(number), {})[field_name] = tensor.clone()
        self.model.module.load_state_dict(model)
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})
        self._done = done


def _autocast(precision: str, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
