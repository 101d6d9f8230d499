"""What a trial asks for, and where it fits: a trial runs on one node, so sums say nothing."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ray

from orchestrator.driver.joining import ClusterError
from orchestrator.planning.sections import ResourcesSection

Amounts = Mapping[str, float]

ACCELERATOR = "accelerator_type:"
SLIVER = 0.001
"""What a trial takes of its accelerator's label: Ray's own amount, a thousand trials a node."""

NAMES = {"CPU": "resources.cpu", "GPU": "resources.gpu"}


@dataclass(frozen=True, slots=True)
class Node:
    """One living node: its name for people, and all that it has, taken or not."""

    name: str
    has: Amounts


def bundle(asked: ResourcesSection) -> dict[str, float]:
    """What one trial occupies, in Ray's names."""
    occupied = {"CPU": asked.cpu, **asked.custom}
    if asked.gpus:
        occupied["GPU"] = asked.gpus
    if asked.accelerator_type:
        occupied[ACCELERATOR + asked.accelerator_type] = SLIVER
    return occupied


def living_nodes() -> list[Node]:
    """The nodes of the connected cluster."""
    return [
        Node(f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})", node["Resources"])
        for node in ray.nodes()
        if node["Alive"]
    ]


def slots(asked: ResourcesSection, nodes: Sequence[Node]) -> int:
    """How many trials run at a time when nobody else is there."""
    return sum(_slots(bundle(asked), node.has) for node in nodes)


def _slots(wanted: Amounts, has: Amounts) -> int:
    fits = [_times(name, amount, has.get(name, 0)) for name, amount in wanted.items()]
    return min(fits)


def _times(name: str, amount: float, there: float) -> int:
    if name == "GPU" and amount < 1:  # Ray never splits a trial over two devices
        return math.floor(1 / amount + 1e-6) * int(there)
    return math.floor(there / amount + 1e-6)


def check_fits(asked: ResourcesSection, nodes: Sequence[Node], *, grows: bool) -> str:
    """Whether a trial can ever start.

    Args:
        grows: whether nodes that are not there yet may come.

    Returns:
        What it waits for; empty when it can start.

    Raises:
        ClusterError: no node can ever run a trial; says which resource and where there is most.
    """
    if any(_slots(bundle(asked), node.has) for node in nodes):
        return ""
    short = [
        _short(name, amount, nodes)
        for name, amount in bundle(asked).items()
        if not any(_times(name, amount, node.has.get(name, 0)) for node in nodes)
    ]
    why = "; ".join(short) or (
        "no single node has all of it together: "
        + ", ".join(f"{name} {amount:g}" for name, amount in bundle(asked).items())
    )
    if grows:
        return f"no node can run a trial yet ({why}): waiting for the autoscaler to bring one"
    raise ClusterError(f"{why}: no trial could ever start. Lower it, or add nodes.")


def _short(name: str, amount: float, nodes: Sequence[Node]) -> str:
    if name.startswith(ACCELERATOR):
        return _no_accelerator(name.removeprefix(ACCELERATOR), nodes)
    most = max(nodes, key=lambda node: node.has.get(name, 0), default=None)
    there = most.has.get(name, 0) if most else 0
    total = sum(node.has.get(name, 0) for node in nodes)
    said = f"{NAMES.get(name, f'resources.custom.{name}')} = {amount:g}, but "
    if most is None or not there:
        return said + f"no node has any {name}"
    return said + f"the most on one node is {there:g}, on {most.name}, of {total:g} in the cluster"


def _no_accelerator(name: str, nodes: Sequence[Node]) -> str:
    there = {
        key.removeprefix(ACCELERATOR)
        for node in nodes
        for key in node.has
        if key.startswith(ACCELERATOR)
    }
    known = there | known_accelerators()
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]}?" if name not in known and close else ""
    listed = ", ".join(sorted(there)) or "none that Ray knows"
    return f"resources.accelerator_type = {name}: the nodes have {listed}{hint}"


def known_accelerators() -> set[str]:
    """Names that Ray gives to devices: `A100`, `H100` ..."""
    from ray.util import accelerators

    return {value for name, value in vars(accelerators).items() if name.isupper()}
