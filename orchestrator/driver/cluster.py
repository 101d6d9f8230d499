"""Ray: with `tuning.py` (Tune in the driver) and `runner.py` (in a process) what talks to it.

Shared stages and trials are handed to one Tune run, in the order of what they need: a process
that has imported torch and timm for a stage goes on with a trial, and a trial starts as soon as
its own stages are there.
"""

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, TypeVar

import ray

from orchestrator.driver import capacity, tuning
from orchestrator.driver.blame import Blame
from orchestrator.driver.deaths import Deaths
from orchestrator.driver.dispatcher import Dispatcher, Failed, Fell, Proposals, Work
from orchestrator.driver.hearing import Hearing
from orchestrator.driver.interrupts import INTERRUPTED, Stop
from orchestrator.driver.joining import ClusterError, check_joinable
from orchestrator.driver.sharing import Share
from orchestrator.driver.starting import start
from orchestrator.driver.watcher import Watcher
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import Plan
from orchestrator.planning.sections import ResourcesSection
from orchestrator.ray_internals.ending import shut_down
from orchestrator.ray_internals.memory import HeadMemory
from orchestrator.ray_internals.nodes import autoscales
from orchestrator.versions import differences, gpu_answer, node_answer, versions
from orchestrator.worker import runner
from orchestrator.worker.failures import Attempts, SweepStopped
from orchestrator.worker.job import Settings

T = TypeVar("T")

NODE_ANSWER_S = 120.0
"""A node must start a process and import this package for its answer."""

OBJECT_STORE_SHARE = 0.5
"""Of Ray's object store on the smallest node, for the images of one data set."""

NODE_LOSS_S = 10.0
"""Ray takes about this long to see that a node is gone."""


@contextlib.contextmanager
def connected(
    sweep: SweepConfig, address: str | None, say: Callable[[str], None] = lambda text: None
) -> Iterator[None]:
    """A Ray cluster for the length of a sweep: started here, or an existing one joined.

    Args:
        address: `local` or None: a new one on this machine; `auto` or HOST:PORT: join.
        say: told what it waits for.

    Raises:
        ClusterError: no cluster there, or it has not what a trial asks for.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    # Tune's own state is disposable, and writing all trials again and again is not for nothing.
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "86400")
    # Tune would swallow Ctrl-C and return as if the sweep had ended.
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    local = address in (None, "local")
    joined_before = ray.is_initialized()
    if not (joined_before or local):
        check_joinable(str(address))
    if not joined_before:
        start(None if local else address, say)
    try:
        grows = not local and autoscales()
        if waits := capacity.check_fits(sweep.resources, capacity.living_nodes(), grows=grows):
            say(waits)
        if not local or len(ray.nodes()) > 1:
            _check_versions()
        if sweep.resources.gpu:
            _check_devices()
        # With a searcher Tune would start one process at a time, and the next only when that one
        # works. How many there may be is `sharing.Share`'s to say, which follows the cluster.
        os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "100000")
        yield
    finally:
        if not joined_before:
            shut_down()


def _check_versions() -> None:
    """Before anything is spent: results of other versions could differ without saying so."""
    bad = [
        f"{node}: {odd}"
        for node, installed in node_versions().items()
        if (odd := differences(installed, versions()))
    ]
    if bad:
        raise ClusterError(
            "nodes have other versions than this driver; install the same ones everywhere:\n  "
            + "\n  ".join(bad)
        )


def _check_devices() -> None:
    """Before anything is spent: Ray counts the devices that it is told of, torch has to use them.

    Raises:
        ClusterError: torch sees no GPU on a node that has one for Ray.
    """
    blind = [why for why in _answers(gpu_answer, "GPU").values() if why]
    if blind:
        raise ClusterError("; ".join(blind))


def node_versions() -> dict[str, dict[str, str]]:
    """Versions on every node of the connected cluster, by node address.

    Raises:
        ClusterError: a node cannot say, as when this package is not installed there.
    """
    return _answers(node_answer)


def _answers(ask: Callable[[], T], resource: str = "CPU") -> dict[str, T]:
    """What every node that has some of a resource says, by node address.

    Raises:
        ClusterError: a node cannot say.
    """
    # Its own process where GPUs are asked for: what torch sees is settled when it first looks.
    task = ray.remote(max_calls=1)(ask) if resource == "GPU" else ray.remote(ask)
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    nodes = [
        n for n in ray.nodes() if n["Alive"] and (resource == "CPU" or n["Resources"].get(resource))
    ]
    refs = [
        task.options(
            num_cpus=0, scheduling_strategy=strategy(node_id=node["NodeID"], soft=False)
        ).remote()
        for node in nodes
    ]
    said: dict[str, T] = {}
    for node, ref in zip(nodes, refs, strict=True):
        name = f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})"
        try:
            said[name] = ray.get(ref, timeout=NODE_ANSWER_S)
        except ray.exceptions.RayError as error:
            if not isinstance(error, ray.exceptions.RayTaskError) and _is_gone(node["NodeID"]):
                continue  # nothing will run there
            reason = str(error).strip().splitlines()[-1][:300]
            raise ClusterError(f"node {name} cannot say what it has: {reason}") from error
    return said


def _is_gone(node_id: str) -> bool:
    """Whether a node has left; Ray may learn of it only after its processes have failed."""
    deadline = time.monotonic() + NODE_LOSS_S
    while any(node["Alive"] and node["NodeID"] == node_id for node in ray.nodes()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def place_sources(plan: Plan) -> dict[str, list[Any]]:
    """Put each data set into the object store, once for all workers of a node.

    One that is too large for it stays in a file on each node's disk, and only its name travels.
    Wrapped in a list, so that a process gets the reference and fetches at most once.
    """
    room = OBJECT_STORE_SHARE * min(
        (node["Resources"].get("object_store_memory", 0) for node in _living()), default=0
    )
    placed: dict[str, Any] = {}
    for opened in plan.opened.values():
        if opened.dataset.digest not in placed:
            placed[opened.dataset.digest] = ray.put(opened.dataset.in_memory(room))
    return {
        name: [placed[opened.dataset.digest], opened.sources, opened.weights]
        for name, opened in plan.opened.items()
    }


def run_work(
    plan: Plan,
    work: Sequence[Work],
    settings: Settings,
    watcher: Watcher,
    proposals: Proposals | None = None,
    stop: Stop | None = None,
    seen: Collection[str] | None = None,
    fell: Fell | None = None,
    asked: ResourcesSection | None = None,
) -> Failed:
    """Run shared stages and trials in processes of a cluster, each used again and again.

    A failing item stops no other but those that need it. How often one is tried again is decided
    by the dispatcher and not by Tune, which does not look at the reason.

    Args:
        work: what to run, in an order that keeps progress readable.
        proposals: what else to run, by what has ended; None = `work` is all.
        stop: asked by somebody else when this is to end early.
        seen: keys of items that may have a run in MLflow; None = all may.
        fell: told of items that fail because something that they need has failed.
        asked: what a trial occupies, measured; None = as the sweep says.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM; nothing runs any more.
        SweepStopped: `stop` was asked, or nothing more can be kept; nothing runs any more.
    """
    sweep, stop = plan.sweep, stop or Stop()
    asked = asked or sweep.resources
    share = _share(asked)
    dispatcher = Dispatcher(
        work,
        blame=Blame(Attempts(sweep.retry.max_failures), Deaths(_living_ids)),
        share=share,
        stop=stop,
        watcher=watcher,
        proposals=proposals,
        fell=fell,
        seen=seen,
        common=settings.common,
    )
    payload = settings, place_sources(plan)
    with contextlib.ExitStack() as during:
        during.callback(share.leave)
        progress = HeadMemory(runner.told_where(settings))
        during.callback(progress.clear)
        heard = Hearing(progress.read, watcher).look
        tuning.run_all(dispatcher, payload, asked, heard)
    if stop.reason == INTERRUPTED:
        raise KeyboardInterrupt
    if stop.reason is not None:
        raise SweepStopped(stop.reason)
    return dispatcher.failed


def _living_ids() -> set[str]:
    """Ray's ids of the nodes that are there."""
    return {node["NodeID"] for node in _living()}


def _living() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _share(asked: ResourcesSection) -> Share:
    return Share(
        HeadMemory(b"lotus-sweep-shares"),
        lambda: capacity.slots(asked, capacity.living_nodes()),
        asked.share,
        autoscales(),
        asked.max_concurrent_trials,
    )
