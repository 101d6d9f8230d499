"""What trials are called: by their arm and the axes that it uses."""

from typing import Any

from orchestrator.planning.config import AXES
from orchestrator.visible import one_line
from trials.arms import BASE_AXES, PATCH_DROP
from trials.config import TrialConfig

SHORT = dict(zip(BASE_AXES, ("s", "d", "f"), strict=True))

NAME_CHARACTERS = 250
"""The longest name of a trial; MLflow takes no longer one."""


def used_axes(config: TrialConfig, point: dict[str, Any]) -> dict[str, Any]:
    """The axes that a trial's arm does not ignore; what its tickets drop where they say it.

    Args:
        config: it fits its model (`trials.graph.fitting`).
    """
    ignored = set(BASE_AXES) - config.used_axes
    used = {name: value for name, value in point.items() if name not in ignored}
    if config.nested:
        used[PATCH_DROP] = config.patch_drop
    return {name: value for name, value in used.items() if config.reads(name)}


def trial_name(axes: dict[str, Any], key: str) -> str:
    """`lotus-s0.30-d0.10-f0.10-seed0`, `-issp.merge=union_kept` for further axes, `-rung3`.

    It says all axes and every digit, so no two trials of a sweep have the same name. One that is
    too long is cut and ends with the first digits of its key.
    """
    parts = [str(axes["arm"])]
    for name, letter in SHORT.items():
        if name in axes:
            value = axes[name]
            parts.append(f"{letter}{value}" if value == "auto" else f"{letter}{_digits(value)}")
    parts.append(f"seed{axes['seed']}")
    parts += [f"{name}={value}" for name, value in axes.items() if name not in (*AXES, "rung")]
    parts += [f"rung{axes['rung']}"] if "rung" in axes else []
    name = one_line("-".join(parts))
    return name if len(name) <= NAME_CHARACTERS else f"{name[: NAME_CHARACTERS - 9]}-{key[:8]}"


def _digits(value: float) -> str:
    """At least two decimals, more where the value has them."""
    short = f"{value:.2f}"
    return short if float(short) == value else repr(float(value))
