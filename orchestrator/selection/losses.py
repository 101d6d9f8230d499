"""What a setting of the denoised pruning loses, and what one change to it does."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from trials.sparsity.detect import ROUNDING

COLLAPSE = 0.2
"""A larger drop of accuracy below the dense model is called a collapse."""

Verdict = Literal["better", "worse", "undecided"]


def collapses(drop: float | None) -> bool:
    """Whether a loss against dense is a collapse."""
    return drop is not None and drop > COLLAPSE + ROUNDING


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """One setting against its dense models and its controls; all numbers are fractions.

    loss = cost of the sparsity itself (`control_drop`) + what the mask adds (`excess`).

    Attributes:
        n: seeds measured right after pruning.
        sparsity: reached, of the prunable weights.
        drop: dense minus pruned, right after pruning, on validation.
        final_drop: dense minus fine-tuned, on test.
        control_drop: like `drop`, for one-shot magnitude at the same sparsity.
        excess: loss beyond that control, right after pruning; final_excess: after equal
            fine-tuning, on test; random_excess: loss beyond a random mask, right after pruning.
        jaccard: mean overlap of the ingredients' masks; 1 = the merge does nothing.
        *_low, *_high: simultaneous limits; only anchors have them.
    """

    name: str
    arm: str
    n: int
    sparsity: float | None
    dense: float | None
    accuracy: float | None
    final_accuracy: float | None
    jaccard: float | None
    drop: float | None
    drop_low: float | None
    drop_high: float | None
    final_drop: float | None
    final_drop_low: float | None
    final_drop_high: float | None
    control_drop: float | None
    control_drop_low: float | None
    control_drop_high: float | None
    excess: float | None
    excess_low: float | None
    excess_high: float | None
    final_excess: float | None
    final_excess_low: float | None
    final_excess_high: float | None
    random_excess: float | None

    @property
    def collapsed(self) -> str | None:
        """When it is more than COLLAPSE below dense, in words; None = never."""
        where = (("right after pruning", self.drop), ("after fine-tuning", self.final_drop))
        return " and ".join(when for when, drop in where if collapses(drop)) or None

    def entry(self) -> dict[str, Any]:
        """For summary.json."""
        return asdict(self) | {"collapsed": self.collapsed}


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One change to an anchor, paired by seed; positive = better than the anchor.

    Attributes:
        anchor: its index in the list of anchors.
        effect_pruned: on validation accuracy right after pruning; None for a change that only
            affects later stages. low, high: its simultaneous limits.
        effect_final: on test accuracy after fine-tuning.
        n: seeds that both have.
        loss: of the changed setting.
    """

    anchor: int
    suspect: str
    label: str
    value: Any
    anchor_value: Any
    n: int
    effect_pruned: float | None
    low: float | None
    high: float | None
    effect_final: float | None
    final_low: float | None
    final_high: float | None
    loss: Loss

    @property
    def size(self) -> float:
        """The rank: the size of the effect right after pruning, else of the one at the end."""
        first = self.effect_final if self.effect_pruned is None else self.effect_pruned
        return abs(first or 0.0)

    @property
    def verdict(self) -> Verdict:
        """Whether the change helps, judged by the limits alone."""
        later = self.effect_pruned is None
        low, high = (self.final_low, self.final_high) if later else (self.low, self.high)
        if low is not None and low > 0:
            return "better"
        return "worse" if high is not None and high < 0 else "undecided"

    @property
    def words(self) -> str:
        """`sparsity reference absolute instead of relative`."""
        return f"{self.label} {self.value} instead of {self.anchor_value}"

    def entry(self) -> dict[str, Any]:
        """For summary.json: the change, its effects, and what the changed setting loses."""
        fields = ("name", "sparsity", "accuracy", "final_accuracy", "drop", "final_drop",
                 "control_drop", "excess", "final_excess", "random_excess", "jaccard",
                 "collapsed")  # fmt: skip
        row = {f: v for f, v in asdict(self).items() if f != "loss"}
        loss = self.loss.entry()
        return row | {f: loss[f] for f in fields} | {"verdict": self.verdict}
