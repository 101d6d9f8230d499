"""The arms as the summary describes them: their order, labels and looks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dashboards import style
from dashboards.text import clean, number

CONTROL = "Control: "


@dataclass(frozen=True, slots=True)
class Arms:
    """The entry `known_arms` of a summary, by arm and in its order. Unknown arms can be drawn and
    named too."""

    known: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, summary: dict[str, Any]) -> "Arms":
        """The arms of a summary."""
        return cls({str(row.get("arm")): row for row in summary.get("known_arms") or []})

    def rank(self, arm: str) -> tuple[int, str]:
        """Sort key: arms in the summary's order, then unknown ones."""
        order = list(self.known)
        return (order.index(arm) if arm in self.known else len(order), arm)

    def label(self, arm: Any) -> str:
        """The label of an arm; an unknown one keeps its name."""
        return clean(self._row(arm).get("label")) or clean(arm)

    def short(self, arm: Any) -> str:
        """A short label: `Random mask`."""
        label = self.label(arm).removeprefix(CONTROL)
        return label[:1].upper() + label[1:28]

    def mask(self, arm: Any) -> str | None:
        """What prunes an arm's model; None if it is not pruned, or the arm is unknown."""
        return self._row(arm).get("mask")

    def mask_controls(self) -> list[str]:
        """The controls that replace the mask, the best-informed first."""
        rows = reversed(self.known.items())
        return [arm for arm, row in rows if row.get("replaces") == "mask"]

    def colour(self, arm: Any) -> str:
        """An arm's colour in every figure."""
        look = self._look(arm)
        return style.MUTED if look is None else look[0]

    def marker(self, arm: Any) -> str:
        """An arm's marker in every figure."""
        look = self._look(arm)
        return "stroke" if look is None else look[1]

    def is_control(self, arm: Any) -> bool:
        """Whether an arm replaces a part of the method, to see what that part brings."""
        return bool(self._row(arm).get("replaces"))

    def line(self, arm: Any) -> list[int]:
        """An arm's line style as dashes and gaps in pixels: controls are dashed."""
        return style.DASHED if self.is_control(arm) else style.SOLID

    def names(self, arms: Sequence[str]) -> dict[str, str]:
        """Short labels that are all different, in the order of `rank`."""
        named: dict[str, str] = {}
        for arm in sorted(dict.fromkeys(arms), key=self.rank):
            short, taken = self.short(arm), set(named.values())
            same = sum(one == short or one.startswith(f"{short} (") for one in taken)
            named[arm] = f"{short} ({same + 1})" if short in taken else short
        return named

    def on_top(self, arm: Any) -> bool:
        """Whether it is the full method, of which the others are parts or controls."""
        return bool(self._row(arm).get("full"))

    def _row(self, arm: Any) -> dict[str, Any]:
        return self.known.get(str(arm)) or {}

    def _look(self, arm: Any) -> tuple[str, str] | None:
        look = number(self._row(arm).get("look"))
        return None if look is None else style.arm_look(int(look))
