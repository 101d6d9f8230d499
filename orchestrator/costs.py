"""Device time as text."""

from collections.abc import Mapping
from typing import Any

DEVICES = {"cpu": "CPU", "gpu": "GPU"}


def cost_words(cost: Mapping[str, Any]) -> str:
    """The device time of a sweep, and what it would have been without shared stages.

    >>> cost_words({"device": "cpu", "device_hours": 0.077, "device_hours_saved": 0.41})
    '4.6 CPU-minutes instead of 29 without sharing stages'

    Args:
        cost: the entry of summary.json.
    """
    used, saved = cost["device_hours"], cost.get("device_hours_saved") or 0.0
    times, unit = _unit(used)
    words = f"{_number(used * times)} {DEVICES.get(cost.get('device') or '', 'device')}-{unit}"
    alone = _number((used + saved) * times)
    if alone == _number(used * times):
        return words
    return f"{words} instead of {alone} without sharing stages"


def predicted_words(cost: Mapping[str, Any]) -> str:
    """The device time that was predicted before the sweep began; "" where nobody wrote it down.

    Args:
        cost: the entry of summary.json.
    """
    predicted = cost.get("device_hours_predicted")
    return "" if predicted is None else device_time(predicted, cost.get("device") or "")


def device_time(device_hours: float, device: str = "") -> str:
    """Device-hours in a suitable unit: 0.05 -> `3.0 CPU-minutes`.

    Args:
        device: `cpu` or `gpu`; "" = either.
    """
    return cost_words({"device": device, "device_hours": device_hours})


def _unit(device_hours: float) -> tuple[float, str]:
    return (60.0, "minutes") if device_hours < 1.0 else (1.0, "hours")


def _number(value: float) -> str:
    """One decimal below 10, whole numbers above."""
    return f"{value:.1f}" if value < 9.95 else f"{value:,.0f}"
