"""The recovery of a trial whose tokens leave inside the model, as a graph."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from trials.config import TrialConfig
from trials.graph.shared import Shared
from trials.model import cost
from trials.model.cost import Work
from trials.reduction.config import ReductionConfig
from trials.stage import Load, Node
from trials.stages.finetune import Finetuned, RecoverConfig
from trials.stages.reduced import ReducedConfig, reduced


def reduction_of(trial: TrialConfig) -> ReductionConfig | None:
    """What the trial's method reads of its settings; None = no token leaves inside."""
    return trial.reduction.read() if trial.reduces else None


@dataclass(frozen=True, slots=True)
class Reductions:
    """Makes the stage of one trial.

    Attributes:
        reduction: of `reduction_of`.
        models: the dense models, of which one teaches DynamicViT.
        kept: patches of an image that enter; None = all.
    """

    trial: TrialConfig
    reduction: ReductionConfig
    models: Mapping[Literal["pretrained", "adapted"], Node[Any]]
    kept: int | None
    work: Work
    shared: Shared

    def trained(
        self, recipe: RecoverConfig, inputs: Mapping[str, Any], whole: Load
    ) -> Node[Finetuned]:
        """A recovery with tokens leaving inside.

        Args:
            inputs: of the recovery without.
            whole: its work.
        """
        own: dict[str, Any] = {"reduction": self.reduction}
        if self.reduction.predicts:
            own["lr"] = self.reduction.predictor_lr
        cfg = self.shared.part(recipe, ReducedConfig, **own)
        given = dict(inputs)
        if self.reduction.predicts:
            asked = self.reduction.reference_teacher
            given["teacher"] = self.models["pretrained" if asked == "pretrained" else "adapted"]
        work = partial(self._work, cfg, whole)
        return self.shared.node(reduced, cfg, self.trial.seed, given, work)

    def as_it_is(self, inputs: Mapping[str, Any], finished: Node[Any]) -> Node[Finetuned]:
        """A finished model with tokens leaving inside: nothing is trained for it.

        Args:
            inputs: of a recovery; all but the data is left out.
        """
        cfg = self.shared.config(ReducedConfig, epochs=0, reduction=self.reduction)
        given = dict.fromkeys(inputs) | {"data": inputs["data"], "model": finished}
        seed = self.trial.seed if self.reduction.draws else None
        return self.shared.node(reduced, cfg, seed, given, self.work.validation)

    def _work(self, cfg: ReducedConfig, whole: Load) -> Load:
        """Of a recovery, with the multiplications of the tokens that are left."""
        model = self.work.model
        share = cost.reduced_macs(model, cfg.reduction, self.kept, training=True)
        share /= cost.forward_macs(model, self.kept)
        taught = self.work.counts.train if cfg.reduction.predicts else 0
        teaching = cfg.epochs * self.work.forward(taught, batch=cfg.batch_size)
        return Load(whole.macs * share, whole.calls) + teaching
