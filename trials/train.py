"""The only training loop, and the only evaluation loop.

All randomness is a function of (seed, purpose, epoch): nothing but weights, optimizer and
history has to be saved to continue bit for bit.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from trials import tickets, vit
from trials.context import Context, Epoch, Outcomes, Progress, Snapshots
from trials.data import Dataset
from trials.errors import StageInputError
from trials.masks import KeepMask
from trials.patches import Patches, augment
from trials.seeding import generator, global_seed
from trials.stage import StageConfig
from trials.vit import Arch, Removal

__all__ = [
    "Context",
    "Epoch",
    "Outcomes",
    "Progress",
    "Snapshots",
    "TrainConfig",
    "Trainer",
    "evaluate",
]

EVAL_BATCH = 512


class TrainConfig(StageConfig):
    """A recipe. Defaults: Essential Sparsity, Table 1, CIFAR-10."""

    lr: float = Field(2e-5, gt=0, description="peak learning rate")
    batch_size: int = Field(64, ge=1)
    weight_decay: float = Field(2e-8, ge=0, description="AdamW, on tensors with 2 or more axes")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="decay of the learning rate to 0 over all steps"
    )
    warmup_steps: int = Field(0, ge=0, description="linear warm-up from 0")
    grad_clip: float | None = Field(None, gt=0, description="largest gradient norm")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    flip: bool = Field(False, description="random horizontal flip; tickets move with the image")
    crop: int = Field(
        0,
        ge=0,
        description="pixels of zero-padding of which a random crop is taken; with tickets only "
        "where they are scored online, because it breaks the patch grid",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16: autocast in forward and backward"
    )


@dataclass(slots=True)
class Trainer:
    """One training run: a model, its data and recipe.

    Attributes:
        model: a timm vision transformer on the context's device; trained in place.
        subset: indices of the training images to use; None = all.
        keep: masked weights are exactly 0 before the first and after every step.
        patches: which patches the model trains on; None = all.
        teacher: a dense model for distillation; None = cross-entropy only.
        distill: weight of KL(teacher || model) in the loss, in [0, 1].
        validation: what the model gets right after the last epoch; None before the first.
    """

    model: Any
    arch: Arch
    data: Dataset
    cfg: TrainConfig
    ctx: Context
    seed: int
    subset: Tensor | None = None
    keep: KeepMask | None = None
    patches: Patches | None = None
    teacher: Any = None
    distill: float = 0.0
    validation: Outcomes | None = field(init=False, default=None)
    _optimizer: torch.optim.AdamW = field(init=False)
    _dropped: list[tuple[Tensor, Tensor]] = field(init=False)
    _total: int = field(init=False, default=0)
    _done: int = field(init=False, default=0)
    _history: list[Epoch] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        if self.patches is not None:
            self.patches.refuse_broken_grid(self.cfg.crop)
        decay = [p for p in self.model.parameters() if p.ndim >= 2]
        other = [p for p in self.model.parameters() if p.ndim < 2]
        groups = [
            {"params": decay, "weight_decay": self.cfg.weight_decay},
            {"params": other, "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=self.cfg.lr, fused=True)
        named = dict(self.model.named_parameters())
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
        images, _ = self._train_data()
        self._total = count * math.ceil(len(images) / self.cfg.batch_size)
        until = count if stop is None else min(stop, count)
        history = self._restore() or list(self._history)
        while len(history) < until:
            epoch = len(history)
            start = time.perf_counter()
            loss = self._steps(self._batches(epoch), epoch)
            self._synchronise()
            seconds = time.perf_counter() - start
            outcomes = evaluate(self.model, self.arch, self.data, "validation", self.ctx)
            self.validation = outcomes
            history.append(
                Epoch(loss, outcomes.loss, outcomes.accuracy, len(images) / max(seconds, 1e-9))
            )
            self.ctx.progress(Progress("epoch", len(history), until, history[-1]))
            if len(history) < until:
                self._snapshot(history)
        return tuple(history)

    def steps(self, count: int) -> float:
        """Train for a number of steps, over as many epochs as they need; the mean loss."""
        self._total = count
        losses, epoch = [], 0
        while self._done < count:
            left = count - self._done
            batches = [batch for batch, _ in zip(self._batches(epoch), range(left), strict=False)]
            losses.append((self._steps(iter(batches), epoch), len(batches)))
            epoch += 1
        return sum(loss * n for loss, n in losses) / count if count else math.nan

    def _train_data(self) -> tuple[Tensor, Tensor]:
        images, labels = self.data.on(self.ctx.device, "train")
        if self.subset is not None:
            subset = self.subset.to(self.ctx.device)
            images, labels = images[subset], labels[subset]
        return images, labels

    def _batches(self, epoch: int) -> Iterator[Tensor]:
        count = len(self.data.train) if self.subset is None else len(self.subset)
        order = torch.randperm(count, generator=generator(self.seed, "order", epoch))
        return iter(torch.split(order, self.cfg.batch_size))

    def _steps(self, batches: Iterator[Tensor], epoch: int) -> float:
        images, labels = self._train_data()
        draw = generator(self.seed, "augment", epoch)
        total = torch.zeros((), device=self.ctx.device, dtype=torch.float64)
        seen = 0
        self.model.train()
        with global_seed(self.seed, "dropout", epoch):
            for batch in batches:
                chosen = batch.to(self.ctx.device)
                loss = self._step(images[chosen], labels[chosen], batch, draw)
                total += loss.detach() * len(batch)
                seen += len(batch)
        self.model.eval()
        mean = float(total) / seen
        if not math.isfinite(mean):
            raise StageInputError(
                f"the training loss became {mean} in epoch {epoch + 1}: lower `lr` "
                f"(now {self.cfg.lr}) or set `grad_clip`"
            )
        return mean

    def _step(self, images: Tensor, labels: Tensor, batch: Tensor, draw: torch.Generator) -> Tensor:
        images, mirrored = augment(images, self.cfg.flip, self.cfg.crop, draw)
        x = vit.preprocess(images, self.arch, vit.input_size(self.model))
        kept = self._kept(batch, x, mirrored, draw)
        for group in self._optimizer.param_groups:
            group["lr"] = self.cfg.lr * self._rate(self._done)
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._loss(x, labels, kept)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.cfg.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.cfg.grad_clip)
        self._optimizer.step()
        self._zero_masked()
        self._done += 1
        return loss

    def _kept(
        self, batch: Tensor, x: Tensor, mirrored: Tensor, draw: torch.Generator
    ) -> Tensor | None:
        if self.patches is None:
            return None
        rows = batch if self.subset is None else self.subset[batch]
        columns = self.model.patch_embed.grid_size[1]
        return self.patches.kept(rows, x, mirrored, columns, draw)

    def _loss(self, x: Tensor, labels: Tensor, kept: Tensor | None) -> Tensor:
        removal: Removal = self.patches.removal if self.patches else "gather"
        padded = kept is not None and tickets.is_padded(kept)
        kept = kept.to(self.ctx.device) if kept is not None else None
        with _autocast(self.cfg.precision, self.ctx.device):
            logits = vit.forward(self.model, x, kept, removal, padded=padded)
            loss = F.cross_entropy(logits.float(), labels, label_smoothing=self.cfg.label_smoothing)
            if self.teacher is None or self.distill == 0.0:
                return loss
            with torch.no_grad():
                target = self.teacher(x).float().log_softmax(-1)
        own = logits.float().log_softmax(-1)
        divergence = F.kl_div(own, target, log_target=True, reduction="batchmean")
        return (1 - self.distill) * loss + self.distill * divergence

    def _rate(self, step: int) -> float:
        """Factor on the learning rate at a step, a closed formula: no scheduler state."""
        warm = self.cfg.warmup_steps
        if step < warm:
            return (step + 1) / warm
        progress = (step - warm) / max(1, self._total - warm)
        if self.cfg.schedule == "linear":
            return 1.0 - progress
        if self.cfg.schedule == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * progress))
        return 1.0

    def _zero_masked(self) -> None:
        # After every step: momentum, weight decay and averages would leak into masked weights.
        with torch.no_grad():
            for parameter, dropped in self._dropped:
                parameter.masked_fill_(dropped, 0.0)

    def _synchronise(self) -> None:
        if self.ctx.device.type == "cuda":
            torch.cuda.synchronize(self.ctx.device)

    def _snapshot(self, history: list[Epoch]) -> None:
        if self.ctx.snapshots is None:
            return
        tensors = {f"model.{n}": t for n, t in self.model.state_dict().items()}
        tensors |= {f"optimizer.{n}": t for n, t in self.optimizer_state().items()}
        values = {"history": [asdict(epoch) for epoch in history], "done": self._done}
        self.ctx.snapshots.save(tensors, values)

    def _restore(self) -> list[Epoch]:
        saved = self.ctx.snapshots.load() if self.ctx.snapshots is not None else None
        if saved is None:
            return []
        tensors, values = saved
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        history = [Epoch(**epoch) for epoch in values["history"]]
        self.resume(parts["model"], parts["optimizer"], history, int(values["done"]))
        return history

    def optimizer_state(self) -> dict[str, Tensor]:
        """The optimizer's tensors, as `<parameter number>.<name>`."""
        state = self._optimizer.state_dict()["state"]
        return {f"{i}.{name}": t for i, own in state.items() for name, t in own.items()}

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
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in optimizer.items():
            number, _, field_name = name.partition(".")
            state.setdefault(int(number), {})[field_name] = tensor.clone()
        self.model.load_state_dict(model)
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})
        self._history, self._done = list(history), done


def _autocast(precision: str, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


@torch.no_grad()
def evaluate(
    model: Any,
    arch: Arch,
    data: Dataset,
    split: Literal["train", "validation", "test"],
    ctx: Context,
    keep_NP: Tensor | None = None,
    removal: Removal = "gather",
) -> Outcomes:
    """Which images of a split the model gets right, in float32.

    Args:
        keep_NP: a ticket per image (bool, images x patches); None = the model sees all patches.
    """
    images, labels = data.on(ctx.device, split)
    size = vit.input_size(model)
    correct, loss = [], torch.zeros((), dtype=torch.float64, device=ctx.device)
    for start in range(0, len(images), EVAL_BATCH):
        part = slice(start, start + EVAL_BATCH)
        kept = None if keep_NP is None else tickets.indices(keep_NP[part])
        padded = kept is not None and tickets.is_padded(kept)
        x = vit.preprocess(images[part], arch, size)
        kept = kept.to(ctx.device) if kept is not None else None
        logits = vit.forward(model, x, kept, removal, padded=padded).float()
        loss += F.cross_entropy(logits, labels[part], reduction="sum")
        correct.append(logits.argmax(-1) == labels[part])
    return Outcomes(torch.cat(correct).cpu(), float(loss) / len(images))
