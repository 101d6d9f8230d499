"""Checks before anything is spent: each says what was found, and what to do when it is bad."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from orchestrator.planning.config import SweepConfig
from orchestrator.secrets import without_password
from orchestrator.versions import hardware, versions
from trials.errors import LotusError


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    found: str


def examine(
    sweep: SweepConfig | None, address: str | None, repair: bool = False
) -> Iterator[Check]:
    """Look at this machine, and at what a sweep needs.

    Args:
        repair: mend what of the sweep's runs does not agree with the store.
    """
    yield Check("hardware", True, hardware())
    yield Check("versions", True, ", ".join(f"{k} {v}" for k, v in versions().items()))
    if sweep is not None:
        yield _try("data and weights", lambda: _sources(sweep))
        yield _try("store", lambda: _store(sweep))
        yield _try("tracking", lambda: _tracking(sweep))
        yield _try("artifacts", lambda: _artifacts(sweep, repair))
        yield _try("runs", lambda: _runs(sweep, repair))
        yield _try("Ray and devices", lambda: _cluster(sweep, address))


def _try(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except (LotusError, OSError) as error:
        return Check(name, False, str(error))


def _sources(sweep: SweepConfig) -> str:
    from orchestrator.planning.plan import plan

    planned = plan(sweep)
    parts = []
    for opened in planned.opened.values():
        counts, sources = opened.sources.counts, opened.sources
        weights = sources.weights.digest[:12] if sources.weights else "random"
        parts.append(
            f"{counts.train} train, {counts.validation} validation, {counts.test} test images, "
            f"digest {sources.data.digest[:12]}, weights {weights}"
        )
    # Building the model's shape proves that timm knows the name and takes the arguments.
    shapes = {trial.graph.dense.work_macs() for trial in planned.trials[:1]}
    return "; ".join(parts) + (", model can be built" if shapes else "")


def _store(sweep: SweepConfig) -> str:
    from orchestrator.storage.store import Store

    store = Store(sweep.storage.path)
    store.writable()
    return f"{store.url} is writable, {store.size_bytes() / 2**20:,.1f} MiB of results"


def _tracking(sweep: SweepConfig) -> str:
    from orchestrator.tracking.tracker import open_sweep

    known = open_sweep(sweep, create=False) is not None
    state = "the sweep is there" if known else "reachable, the sweep is new"
    return f"{without_password(sweep.tracking.uri)}: {state}"


def _artifacts(sweep: SweepConfig, repair: bool) -> str:
    """Whether finished runs have their artifacts; addresses of a moved folder are rewritten."""
    from orchestrator.tracking import places
    from orchestrator.tracking.artifacts import gone
    from orchestrator.tracking.connection import make_ready
    from orchestrator.tracking.database import path_of
    from orchestrator.tracking.tracker import Tracker, open_sweep

    path, said = path_of(sweep.tracking.uri), ""
    if path is not None and path.exists():
        if repair:
            make_ready(path, sweep.experiment_name, whatever=True)
        else:
            moved = [one for one in places.elsewhere(path) if one.moved]
            said = "".join(
                f"\n    they are read beside the database, which names {one.folder}: `lotus run` "
                "and `lotus doctor --repair` rewrite that"
                for one in moved
            )
    address = open_sweep(sweep, create=False)
    if address is None:
        return f"none yet{said}"
    tracker = Tracker(address)
    if lost := gone(tracker, tracker.runs()):
        if repair:
            return lost  # they are written again below
        raise LotusError(lost)
    return f"every finished run has its own{said}"


def _runs(sweep: SweepConfig, repair: bool) -> str:
    from orchestrator.commands import repair as repairing

    found = repairing.examine(sweep, mend=repair)
    said = "".join(f"\n    {line}" for line in found.said)
    if not found.wrong:
        return f"tracking agrees with the store: {found.compared} runs compared{said}"
    listed = "".join(f"\n    {line}" for line in found.wrong) + said
    if repair:
        return f"{found.compared} runs compared with the store, {len(found.wrong)} findings{listed}"
    raise LotusError(
        f"{found.compared} runs compared with the store, which `lotus doctor SWEEP --repair` mends:"
        f"{listed}"
    )


def _cluster(sweep: SweepConfig, address: str | None) -> str:
    from orchestrator.driver.cluster import connected, node_versions

    with connected(sweep, address):
        nodes = node_versions()
    if len({tuple(sorted(found.items())) for found in nodes.values()}) > 1:
        listed = "; ".join(f"{node}: {found}" for node, found in nodes.items())
        raise LotusError(f"nodes have different versions, install the same ones: {listed}")
    return f"{len(nodes)} node(s), all with the same versions"
