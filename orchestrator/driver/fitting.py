"""`resources.gpu: auto`: how many trials a GPU's memory holds, by a step that is really made.

What a trial takes hangs on model, batch, data and device, and no formula knows what a library sets
aside. So a process makes two steps of the sweep's largest trial on each kind of device and says how
much memory it had at most. That is kept in the user's cache folder and not measured again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import ray

from orchestrator.driver.capacity import ACCELERATOR, SLIVER, living_nodes
from orchestrator.driver.joining import ClusterError
from orchestrator.planning.plan import Plan
from orchestrator.planning.sections import SMALLEST, ResourcesSection
from orchestrator.versions import VERSION, versions
from orchestrator.worker.failures import out_of_memory
from trials.caches import cache_of
from trials.config import TrialConfig
from trials.graph.sources import Opened

BESIDE_BYTES = 2**30
"""What a process has on a device beside torch's tensors: its context, and libraries' kernels."""

USABLE = 0.92
"""Of a device's memory; the rest is lost between pieces of different sizes."""


def share_of(needs: int, total: int) -> float:
    """The part of a device that one trial takes: 1/n, so that trials never straddle two.

    Args:
        needs: bytes of its tensors at most.
        total: bytes of the device.

    >>> share_of(needs=9 * 2**30, total=80 * 2**30)
    0.1428
    """
    fits = max(1, int(USABLE * total) // (needs + BESIDE_BYTES))
    return math.floor(1 / fits / SMALLEST + 1e-6) * SMALLEST if fits > 1 else 1.0


def fitted(asked: ResourcesSection, plan: Plan, say: Callable[[str], None]) -> ResourcesSection:
    """The same resources, with a number in the place of `auto`.

    Args:
        say: told what takes long.

    Raises:
        ClusterError: the step failed for another reason than memory.
    """
    if asked.gpu != "auto":
        return asked
    kinds = _kinds(asked)
    trials = _largest(plan)
    shares = []
    for kind in kinds:
        for trial in trials:
            opened = plan.sources_of(trial)
            told = _kept(kind, trial, opened, partial(_ask, kind, trial, opened, say))
            shares.append(share_of(int(told["needs"]), int(told["total"])))
    return asked.model_copy(update={"gpu": max(shares, default=1.0)})


def _kinds(asked: ResourcesSection) -> list[str]:
    """The kinds of devices that trials may run on, by Ray's label; "" = Ray knows no name."""
    if asked.accelerator_type:
        return [asked.accelerator_type]
    found = set()
    for node in living_nodes():
        if node.has.get("GPU"):
            names = [n.removeprefix(ACCELERATOR) for n in node.has if n.startswith(ACCELERATOR)]
            found |= set(names or [""])
    return sorted(found)


def _largest(plan: Plan) -> list[TrialConfig]:
    """One trial for each setting that memory hangs on."""
    trials = [trial.config for trial in (*plan.trials, *plan.early)]
    return list({_text(_settings(trial)): trial for trial in trials}.values())


def _settings(trial: TrialConfig) -> list[Any]:
    recovery = trial.finetune
    return [
        trial.model.name,
        trial.model.kwargs,
        max(trial.dense.batch_size, recovery.batch_size, trial.issp.batch_size),
        recovery.precision,
        recovery.distill > 0,
        trial.tickets.selection,
        trial.tickets.score,
        trial.data.model_dump(mode="json"),
    ]


def _ask(
    kind: str, trial: TrialConfig, opened: Opened, say: Callable[[str], None]
) -> Mapping[str, int]:
    say(f"what a trial takes of a {kind or 'GPU'} is measured once")
    resources = {ACCELERATOR + kind: SLIVER} if kind else {}
    task = ray.remote(num_cpus=0, num_gpus=1, max_calls=1, resources=resources)(memory_of)
    try:
        found: Mapping[str, int] = ray.get(task.remote(trial.model_dump_json(), opened))
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1][:300]
        raise ClusterError(
            f"resources.gpu = auto: a step of the largest trial cannot be made ({reason}); "
            "write a number"
        ) from error
    return found


def memory_of(trial: str, opened: Opened) -> dict[str, int]:
    """What a trial takes of the GPU of this process, and what the GPU has: bytes.

    A trial that does not fit needs all; it then runs alone, with smaller micro-batches.
    """
    import torch

    from trials.context import Context
    from trials.graph.dry import dry_run

    torch.cuda.reset_peak_memory_stats()
    _, total = torch.cuda.mem_get_info()
    try:
        ctx = Context(torch.device("cuda"))
        dry_run(TrialConfig.model_validate_json(trial), opened.dataset, ctx)
    except Exception as error:
        if not out_of_memory(error):
            raise
        return {"needs": total, "total": total}
    return {"needs": torch.cuda.max_memory_reserved(), "total": total}


def _kept(
    kind: str, trial: TrialConfig, opened: Opened, ask: Callable[[], Mapping[str, int]]
) -> Mapping[str, int]:
    """The answer from the cache folder, or asked and then kept there.

    One of a device that Ray has no name for is not kept: nobody could tell it from another.
    """
    question = [kind, _settings(trial), opened.dataset.digest, VERSION, versions()["torch"]]
    folder, name = cache_of("memory"), hashlib.sha256(_text(question).encode()).hexdigest()
    path = None if folder is None or not kind else folder / f"{name}.json"
    if path is not None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(path.read_text("utf-8"))
            return {"needs": int(told["needs"]), "total": int(told["total"])}
    answer = dict(ask())
    if path is not None:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".tmp")
            part.write_text(_text(answer), "utf-8")
            part.replace(path)
    return answer


def _text(value: Sequence[Any] | Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, default=str)
