"""The arms: which parts of LOTUS a trial runs. The one table of them; all else reads it.

LOTUS keeps a ticket of each image and prunes twice. An arm runs some of these parts. A control is
LOTUS with one part replaced, at equal final sparsity and fine-tuning: what LOTUS has more is what
that part is worth.
"""

from dataclasses import dataclass
from typing import Final, Literal

ArmName = Literal[
    "dense",
    "tickets",
    "essential",
    "issp",
    "lotus",
    "reduced",
    "random_tickets",
    "random_patches",
    "random_mask",
    "magnitude",
]
"""As sweep files write it. A new arm stands here and in `ARMS`, at the same place."""

DENSE: Final = "dense"
TICKETS: Final = "tickets"
LOTUS: Final = "lotus"
REDUCED: Final = "reduced"
RANDOM_TICKETS: Final = "random_tickets"
RANDOM_PATCHES: Final = "random_patches"
RANDOM_MASK: Final = "random_mask"
MAGNITUDE: Final = "magnitude"

SPARSITY, PATCH_DROP, MASK_DATA = "sparsity", "patch_drop", "mask_data_fraction"
BASE_AXES = (SPARSITY, PATCH_DROP, MASK_DATA)
"""The axes of LOTUS; `arm` and `seed` every trial has."""

Mask = Literal["one_shot", "issp", "magnitude", "random"]
Patches = Literal["all", "ticket", "random"]
Part = Literal["patches", "mask"]
Family = Literal["tokens", "tickets", "weights", "lotus", "combined"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One arm.

    Attributes:
        name: in sweep files, params and tags.
        label: on the report's page, and in sentences.
        look: which colour and marker it has in figures: a number of its own, never given again.
        mask: what its model is pruned by, None = not at all: one-shot pruning by the settings of
            `essential`, ISSP, or, for a control of the mask, one-shot pruning by this criterion.
        patches: on which patches it is fine-tuned; all but "all" have tickets, which also say how
            many the random ones are.
        seed_system: whether it is no part of LOTUS, but what LOTUS stands on and is compared with.
        replaces: of a control, the part of LOTUS that it replaces.
        tests: of a control, what is shown to help where LOTUS does better, in words.
    """

    name: ArmName
    label: str
    look: int
    mask: Mask | None = None
    patches: Patches = "all"
    seed_system: bool = False
    replaces: Part | None = None
    tests: str = ""

    @property
    def ticketed(self) -> bool:
        """Whether it has tickets."""
        return self.patches != "all"

    @property
    def reducible(self) -> bool:
        """Whether `reduction` is about it: not about what all else is measured against."""
        return self.name != DENSE

    @property
    def control(self) -> bool:
        """Whether it is LOTUS with something replaced."""
        return self.replaces is not None

    @property
    def differs_with(self) -> str:
        """Of a control, the axis that must be above 0 for it to differ from LOTUS."""
        return PATCH_DROP if self.replaces == "patches" else SPARSITY

    def runs_issp(self, count_open: bool) -> bool:
        """Whether it needs ISSP: for its own mask, or to know how many weights a control removes.

        Args:
            count_open: whether ISSP's final sparsity is known only once it has run.
        """
        return self.mask == "issp" or (self.replaces == "mask" and count_open)

    def concerned(self, setting: str) -> bool:
        """Whether a setting such as `issp.merge` is about something that it does at all."""
        section = setting.partition(".")[0]
        masked = self.mask is not None or self.replaces == "mask"
        about = {
            "tickets": self.ticketed,
            "essential": masked,
            "issp": self.mask == "issp" or self.replaces == "mask",
            "reduction": self.reducible,
        }
        return about.get(section, True)

    def prunes_once(self, count_open: bool) -> bool:
        """Whether it makes the one-shot mask at the level of the axis `sparsity`."""
        return self.mask == "one_shot" or self.runs_issp(count_open)

    def axes(self, count_open: bool) -> frozenset[str]:
        """Those of BASE_AXES that it does not ignore."""
        used = {
            SPARSITY: self.prunes_once(count_open),
            PATCH_DROP: self.ticketed,
            MASK_DATA: self.runs_issp(count_open),
        }
        return frozenset(name for name, uses in used.items() if uses)


ARMS: tuple[Arm, ...] = (
    Arm(name="dense", label="Dense", look=0),
    Arm(name="tickets", label="Tickets only", look=1, patches="ticket"),
    Arm(
        name="essential",
        label="One-shot pruning only",
        look=2,
        mask="one_shot",
    ),
    Arm(name="issp", label="ISSP on all patches", look=3, mask="issp"),
    Arm(name="lotus", label="LOTUS", look=4, mask="issp", patches="ticket"),
    Arm(name="reduced", label="Token reduction", look=8, seed_system=True),
    Arm(
        name="random_tickets",
        label="Random tickets (PatchDropout)",
        look=9,
        patches="random",
        seed_system=True,
    ),
    Arm(
        name="random_patches",
        label="Control: random patches",
        look=5,
        mask="issp",
        patches="random",
        replaces="patches",
        tests="choosing patches by attention",
    ),
    Arm(
        name="random_mask",
        label="Control: random mask",
        look=6,
        mask="random",
        patches="ticket",
        replaces="mask",
        tests="choosing weights by magnitude and denoising",
    ),
    Arm(
        name="magnitude",
        label="Control: one-shot magnitude",
        look=7,
        mask="magnitude",
        patches="ticket",
        replaces="mask",
        tests="denoising the mask",
    ),
)
"""As tables list them: from the fewest parts of LOTUS to all of them, then the controls, of each
part from the one that knows least."""

REDUCED_AS: dict[str, tuple[str, int]] = {
    "evit": ("EViT", 10),
    "tome": ("ToMe", 11),
    "dynamicvit": ("DynamicViT", 12),
    "random": ("Random tokens", 13),
}
"""Method of `reduction` -> how the arm `reduced` is shown with it: label and look."""

BY_NAME: dict[str, Arm] = {arm.name: arm for arm in ARMS}

NAMES: tuple[str, ...] = tuple(arm.name for arm in ARMS)

LOTUS_ARMS = tuple(
    arm.name for arm in ARMS if not (arm.control or arm.seed_system or arm.name == DENSE)
)
"""Parts of LOTUS, up to all of it: what can be recommended."""


def shown_as(arm: str, method: str | None) -> str:
    """The name under which tables and figures list a trial: its method's where it has that only."""
    return method if arm == REDUCED and method in REDUCED_AS else arm


SHOWN: tuple[tuple[str, str, int], ...] = tuple(
    row
    for arm in ARMS
    for row in (
        (arm.name, arm.label, arm.look),
        *((name, *seen) for name, seen in REDUCED_AS.items() if arm.name == REDUCED),
    )
)
"""Name, label and look of all that tables list, in their order."""

IN_WORDS: dict[str, str] = {name: label.removeprefix("Control: ") for name, label, _ in SHOWN}
"""Name -> label, where a table or sentence says itself what is a control."""

SYSTEM_CONTROLS: tuple[tuple[str, str, str], ...] = (
    ("tickets", "random_tickets", "choosing patches by attention"),
    ("evit", "random", "ranking tokens by attention"),
)
"""Of what is no control of LOTUS: what is controlled, by what, as they are shown, and what is shown
to help where the first does better."""

TESTS: dict[str, str] = {arm.name: arm.tests for arm in ARMS if arm.control} | {
    control: tests for _, control, tests in SYSTEM_CONTROLS
}
"""Control, as it is shown -> what is shown to help where the other does better."""

SEED_SYSTEMS = tuple(arm.name for arm in ARMS if arm.seed_system)

FAMILIES: dict[Family, str] = {
    "tokens": "Token reduction",
    "tickets": "Tickets and PatchDropout",
    "weights": "Weight pruning",
    "lotus": "LOTUS: weights and patches",
    "combined": "With token reduction inside",
}
"""Kinds of systems that are set side by side, in the order of tables, and their titles."""


def family_of(name: str, drops: bool, reduces: bool) -> Family | None:
    """The family of a trial; None for what all of them are measured against.

    Args:
        name: as tables list it, see `shown_as`.
        drops: whether patches leave before the first block; reduces: whether tokens leave inside.
    """
    arm = BY_NAME.get(name)
    if arm is None or arm.name == REDUCED:
        return "tokens" if name in REDUCED_AS or arm else None
    if not arm.reducible:
        return None
    if reduces:
        return "combined"
    if arm.mask is None:
        return "tickets"
    return "lotus" if drops else "weights"


CONTROLS = tuple(arm.name for arm in ARMS if arm.control)
MASK_CONTROLS = tuple(arm.name for arm in ARMS if arm.replaces == "mask")
"""Pruned by something else, to the sparsity at which ISSP ends."""

TICKETED = tuple(arm.name for arm in ARMS if arm.ticketed)
PRUNED = tuple(arm.name for arm in ARMS if arm.mask is not None)
MASKED = tuple(arm.name for arm in ARMS if arm.mask == "issp")
"""Whose model has ISSP's mask, controls among them."""

ISSP_ARMS = tuple(arm.name for arm in ARMS if arm.mask == "issp" and not arm.control)
CURVE_ARMS = tuple(arm.name for arm in ARMS if arm.mask in ("one_shot", "issp"))
"""Whose trials measure the one-shot mask; a control of the mask may carry another one."""
