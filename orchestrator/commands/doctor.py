"""Checks before anything is spent: each says what was found, and what to do when it is bad."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from orchestrator.planning.config import SweepConfig
from orchestrator.private_names import MLFLOW, TIMM
from orchestrator.ray_internals.names import RAY
from orchestrator.secrets import without_password
from orchestrator.versions import hardware, versions
from trials.config import TrialConfig
from trials.data.config import DataConfig
from trials.data.datasets import Counts, load
from trials.data.known import known
from trials.errors import DataAbsentError, LotusError

T = TypeVar("T")

SHOWN = 5
"""Classes that are named."""


BLOCKED = "cannot be looked at before what is said above is mended"
"""No problem of its own."""


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
    yield _private_names()
    if sweep is not None:
        _read.cache_clear()
        yield from _of_sweep(sweep, address, repair)


def _private_names() -> Check:
    """Whether the installed packages have what we use of them and they do not promise to keep."""
    verdicts = [package.verdict() for package in (RAY, MLFLOW, TIMM)]
    wrong = [line for ok, line in verdicts if not ok]
    return Check("private names", not wrong, "; ".join(wrong or [line for _, line in verdicts]))


def _of_sweep(sweep: SweepConfig, address: str | None, repair: bool) -> Iterator[Check]:
    """Every check, whatever the one before has found; the same trouble is said once."""
    looks: dict[str, Callable[[], str]] = {
        "data": lambda: _data(sweep),
        "model": lambda: _model(sweep),
        "weights": lambda: _weights(sweep),
        "store": lambda: _store(sweep),
        "tracking": lambda: _tracking(sweep),
        "artifacts": lambda: _artifacts(sweep, repair),
        "runs": lambda: _runs(sweep, repair),
        "Ray and devices": lambda: _cluster(sweep, address),
    }
    said: set[str] = set()
    for name, look in looks.items():
        check = _try(name, look)
        if not check.ok and check.found in said:
            check = Check(name, False, BLOCKED)
        said |= set() if check.ok else {check.found}
        yield check


def _try(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except (LotusError, OSError) as error:
        return Check(name, False, str(error))


def _each(settings: Iterable[T], look: Callable[[T], str]) -> str:
    """What is found of each of several settings; every problem at once."""
    found: list[str] = []
    wrong: list[str] = []
    for one in settings:
        try:
            found.append(look(one))
        except LotusError as error:
            wrong.append(str(error))
    if wrong:
        raise LotusError("; ".join(dict.fromkeys(wrong)))
    return "; ".join(dict.fromkeys(found))


def _configs(sweep: SweepConfig) -> Iterable[TrialConfig]:
    """Trials that differ in what they read: one, unless data or model is an axis."""
    varied = any(name.startswith(("data.", "model.")) for name in sweep.axes)
    known = {(t.data.model_dump_json(), t.model.model_dump_json()): t for t, _ in sweep.trials()}
    return known.values() if varied and known else [sweep.base()]


@lru_cache(maxsize=8)
def _read(cfg: DataConfig) -> tuple[Counts, str, tuple[str, ...]]:
    """Sizes, digest and classes of a data set; every image has been decoded."""
    found = load(cfg)
    found.prepare()
    return Counts.of(found), found.digest, found.class_names


def _data(sweep: SweepConfig) -> str:
    def look(cfg: DataConfig) -> str:
        try:
            counts, digest, names = _read(cfg.model_copy(update={"download": False}))
        except DataAbsentError:
            if not cfg.download:
                raise
            return f"{cfg.dataset} is not in {cfg.root} yet: torchvision will fetch it"
        more = ", ..." if len(names) > SHOWN else ""
        return (
            f"{counts.train} train, {counts.validation} validation, {counts.test} test images of "
            f"{counts.classes} classes ({', '.join(names[:SHOWN])}{more}), digest {digest[:12]}"
        )

    settings = {trial.data.model_dump_json(): trial.data for trial in _configs(sweep)}
    return _each(settings.values(), look)


MANY = 1_000_000
"""Images of a data set that cannot be read: more than any setting needs."""


def _counts(trial: TrialConfig) -> Counts:
    """Sizes of a trial's data; any that fit where it cannot be read, which is said elsewhere."""
    published: Counts | None
    try:
        published, _, _ = _read(trial.data.model_copy(update={"download": False}))
    except DataAbsentError:
        published = known(trial.data)
    except (LotusError, OSError):
        published = None
    if published is not None:
        return published
    given = {name: trial.model.kwargs.get(name) for name in ("num_classes", "in_chans")}
    return Counts(MANY, 1, 1, given["num_classes"] or 10, given["in_chans"] or 3)


def _fresh_head(trial: TrialConfig) -> bool:
    """Whether any weight is drawn at random; no where the weights cannot be had."""
    from trials.graph.sources import identity_of, place_of

    try:
        return identity_of(trial.model, place_of(trial.model), _counts(trial).classes)[1]
    except (LotusError, OSError):
        return False


def _model(sweep: SweepConfig) -> str:
    """Whether models can be used, and with these settings: the check that a plan makes too."""
    from orchestrator.planning.model_checks import check_models
    from trials.graph.fitting import model_of, plainly

    if problems := list(check_models(sweep, _counts, _fresh_head)):
        raise LotusError("; ".join(map(str, problems)))

    def look(trial: TrialConfig) -> str:
        trial = plainly(trial)
        model = model_of(trial, _counts(trial))
        return f"{trial.model.name} can be built, {model.patches} patches, {model.depth} blocks"

    return _each(_configs(sweep), look)


def _weights(sweep: SweepConfig) -> str:
    """Whether they can be had and fit the model; what of it stays random."""
    from trials.graph.sources import identity_of, place_of
    from trials.model.downloads import weights_at_hand
    from trials.model.fit import fits
    from trials.model.repository import Remote, resolved

    def look(trial: TrialConfig) -> str:
        model = resolved(trial.model)
        counts = _counts(trial)
        place = place_of(model)
        source, _ = identity_of(model, place, counts.classes)
        if source is None:
            return "random"
        if place is None:
            return weights_at_hand(model.name)
        path = place.path if isinstance(place, Remote) else place
        said = f"{model.pretrained}: {place.words}" if isinstance(place, Remote) else f"{place}"
        said += f", digest {source.digest[:12]}"
        if path is None:
            return said
        words = fits(
            model, path, source.digest, classes=counts.classes, channels=counts.channels
        ).words
        return f"{said}{f' ({words})' if words else ''}"

    return _each(_configs(sweep), look)


def _store(sweep: SweepConfig) -> str:
    from orchestrator.storage.store import Store

    store = Store(sweep.storage.path)
    store.writable()
    return f"{store.url} is writable, {store.size_bytes() / 2**20:,.1f} MiB of results"


def _tracking(sweep: SweepConfig) -> str:
    from orchestrator.tracking.tracker import find_sweep

    known = find_sweep(sweep) is not None
    state = "the sweep is there" if known else "reachable, the sweep is new"
    return f"{without_password(sweep.tracking.uri)}: {state}"


def _artifacts(sweep: SweepConfig, repair: bool) -> str:
    """Whether finished runs have their artifacts; addresses of a moved folder are rewritten."""
    from orchestrator.tracking import places
    from orchestrator.tracking.artifacts import gone
    from orchestrator.tracking.connection import make_ready
    from orchestrator.tracking.database import path_of
    from orchestrator.tracking.tracker import Tracker, find_sweep

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
    address = find_sweep(sweep)
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
