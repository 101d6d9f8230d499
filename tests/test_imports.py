"""Data flows one way: who may import whom, read from the source, functions included.

And what a process imports that computes nothing.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from orchestrator.private_names import MLFLOW, TIMM
from orchestrator.ray_internals.names import RAY
from tests.conftest import COMMAND, loaded_by, tiny_sweep

ROOT = Path(__file__).parent.parent
PACKAGES = ("trials", "orchestrator", "dashboards")
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))


@cache
def imported(source: str) -> frozenset[str]:
    """Top-level names of everything that a module imports, however deep the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
            if node.module == "trials.lazy":
                found.add("torch")
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("__import__", "importlib.import_module")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            found.add(str(node.args[0].value).split(".")[0])
    return frozenset(found)


def importers(name: str) -> set[str]:
    """The files that import a package."""
    return {
        str(path.relative_to(ROOT)) for path in SOURCES if name in imported(path.read_text("utf-8"))
    }


def test_the_reader_sees_every_kind_of_import() -> None:
    source = (
        "import a.b, c as d\nfrom e.f import g\nfrom . import h\n"
        "def inner():\n    import i\n    __import__('j')\n    importlib.import_module('k.l')\n"
        "if TYPE_CHECKING:\n    from m import n\n"
    )
    assert imported(source) == {"a", "c", "e", "i", "j", "k", "m"}
    assert imported("from trials.lazy import F") == {"trials", "torch"}


def test_there_is_source_to_read() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == set(PACKAGES)
    assert len(SOURCES) > 40


FLOORS = [
    "ray_internals",
    "search",
    "storage",
    "planning",
    "tracking",
    "selection",
    "worker",
    "publishing",
    "reading",
    "driver",
    "commands",
    "remote",
    "cli",
    "entry",
]
"""The packages of `orchestrator`, each of which imports only what stands before it. Below them all
are the modules beside them."""


def floor(module: str) -> int:
    """Where a module of `orchestrator` stands."""
    names = module.split(".")[1:]
    return FLOORS.index(names[0]) if names and names[0] in FLOORS else -1


def imported_modules(source: str, package: str = "orchestrator") -> set[str]:
    """Modules that are imported from a package, however deep the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == package:
            found |= {f"{package}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{package}."):
            found.add(str(node.module))
        elif isinstance(node, ast.Import):
            found |= {one.name for one in node.names if one.name.startswith(package)}
    return found


@pytest.mark.parametrize("name", FLOORS)
def test_the_packages_of_the_sweep_stand_on_each_other(name: str) -> None:
    """But for what is offered at the top, and the first program of a job, which runs `lotus`."""
    own = [ROOT / f"orchestrator/{name}.py", *(ROOT / "orchestrator" / name).rglob("*.py")]
    exempt = {
        ("orchestrator/remote/submitted.py", "orchestrator.entry"),
        ("orchestrator/cli.py", "orchestrator.entry"),
    }
    found = {
        (path.relative_to(ROOT).as_posix(), module)
        for path in own
        if path.exists()
        for module in imported_modules(path.read_text("utf-8"))
    }
    assert found
    above = {one for one in found if floor(one[1]) > FLOORS.index(name)}
    assert above <= exempt


def test_what_stands_beside_the_packages_imports_none_of_them() -> None:
    for path in (ROOT / "orchestrator").glob("*.py"):
        if path.stem not in ("__init__", "cli", "entry"):
            assert max(map(floor, imported_modules(path.read_text("utf-8"))), default=-1) == -1


WINGS: dict[str, set[str]] = {
    "data": set(),
    "tokens": set(),
    "reduction": {"tokens"},
    "model": {"data", "tokens", "reduction"},
    "sparsity": {"model"},
    "training": {"data", "tokens", "reduction", "model", "sparsity"},
    "stages": {"data", "tokens", "reduction", "model", "sparsity", "training"},
    "config": {"data", "tokens", "reduction", "model", "sparsity", "stages"},
    "graph": {"data", "tokens", "reduction", "model", "sparsity", "training", "stages", "config"},
}
"""The packages of `trials`, the description of a trial among them, and which others each imports.
Below them all are the modules beside them."""

BELOW_THE_WINGS = {path.stem for path in (ROOT / "trials").glob("*.py")} - {"__init__", "config"}


def wings_that_are_imported(path: Path) -> set[str]:
    """Of `trials`; a name of `trials` itself counts as one, so that nobody imports from the top."""
    modules = imported_modules(path.read_text("utf-8"), "trials")
    return {module.partition(".")[2].split(".")[0] for module in modules} - BELOW_THE_WINGS


def test_every_wing_is_in_the_table_after_those_that_it_imports() -> None:
    packages = {path.parent.name for path in (ROOT / "trials").glob("*/__init__.py")}
    assert packages | {"config"} == set(WINGS)
    order = list(WINGS)
    assert all(order.index(one) < order.index(wing) for wing in WINGS for one in WINGS[wing])


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_imports_only_the_wings_that_it_may(wing: str) -> None:
    sources = [ROOT / f"trials/{wing}.py", *(ROOT / "trials" / wing).rglob("*.py")]
    for path in sources:
        if path.exists():
            assert wings_that_are_imported(path) <= WINGS[wing] | {wing}, path


def test_what_stands_beside_the_wings_imports_none_of_them() -> None:
    assert {"context", "cores", "errors", "formats", "lazy", "seeding", "stage"} <= BELOW_THE_WINGS
    for name in BELOW_THE_WINGS:
        assert not wings_that_are_imported(ROOT / f"trials/{name}.py"), name


@pytest.mark.parametrize("foreign", ["ray", "mlflow", "orchestrator", "dashboards"])
def test_the_science_does_not_know_the_sweep(foreign: str) -> None:
    assert not {path for path in importers(foreign) if path.startswith("trials/")}


@pytest.mark.parametrize("foreign", ["ray", "torch", "mlflow", "timm", "trials", "orchestrator"])
def test_the_dashboards_read_tables_only(foreign: str) -> None:
    assert not {path for path in importers(foreign) if path.startswith("dashboards/")}


def test_few_places_talk_to_ray() -> None:
    assert importers("ray") == {
        "orchestrator/driver/capacity.py",
        "orchestrator/driver/callbacks.py",
        "orchestrator/driver/cluster.py",
        "orchestrator/driver/fitting.py",
        "orchestrator/worker/exporter.py",
        "orchestrator/ray_internals/job_client.py",
        "orchestrator/ray_internals/ending.py",
        "orchestrator/ray_internals/joining.py",
        "orchestrator/ray_internals/memory.py",
        "orchestrator/ray_internals/nodes.py",
        "orchestrator/ray_internals/starting.py",
        "orchestrator/ray_internals/tuning.py",
        "orchestrator/remote/jobs.py",
        "orchestrator/driver/joining.py",
        "orchestrator/worker/runner.py",
        "orchestrator/driver/searcher.py",
        "orchestrator/driver/starting.py",
        "orchestrator/driver/tuning.py",
    }


PRIVATE_TO_RAY = re.compile(
    r"ray\.(.*\._|_|core\.generated|experimental|tune\.execution|tune\.experiment|dashboard)"
)
"""Modules of Ray that it does not promise to keep."""

NOT_PRIVATE = {"_replace", "_exit"}
"""Of named tuples, and of `os`: documented, whatever they begin with."""


def modules_and_attributes(source: str) -> tuple[set[str], set[str]]:
    """Modules that are imported, and names with an underscore that are no own attributes."""
    modules: set[str] = set()
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute) and re.match(r"_([a-z]|[A-Z_0-9]+$)", node.attr):
            owner = node.value
            if not (isinstance(owner, ast.Name) and owner.id in ("self", "cls")):
                names.add(node.attr)
    return modules, names - NOT_PRIVATE


def test_the_reader_sees_what_is_private() -> None:
    source = (
        "import ray._private.state\nfrom ray.experimental import internal_kv\n"
        "from ray import tune\n"
        "self._own\ncls._own\nother._theirs\nos._exit(1)\nx.y._deep = 3\nx._DEEP\nx.__class__\n"
    )
    modules, names = modules_and_attributes(source)
    assert names == {"_theirs", "_deep", "_DEEP"}
    private = {module for module in modules if PRIVATE_TO_RAY.match(module)}
    assert private == {"ray._private.state", "ray.experimental.internal_kv"}
    assert PRIVATE_TO_RAY.match("ray.air.execution._internal.actor_manager.RayActorManager")


def test_private_names_of_ray_stand_in_one_package_and_others_are_registered() -> None:
    """What `lotus doctor` looks for is what the source uses."""
    registered = {name.parts[-1] for one in (RAY, MLFLOW, TIMM) for name in one.names if name.name}
    outside: set[str] = set()
    for path in SOURCES:
        modules, names = modules_and_attributes(path.read_text("utf-8"))
        assert names <= registered, path
        if "ray_internals" in path.parts:
            continue
        assert not {module for module in modules if PRIVATE_TO_RAY.match(module)}, path
        outside |= names
    assert outside == {name.parts[-1] for one in (MLFLOW, TIMM) for name in one.names}


def test_every_private_name_that_is_registered_is_used() -> None:
    text = "".join(
        path.read_text("utf-8")
        for path in (ROOT / "orchestrator/ray_internals").glob("*.py")
        if path.stem != "names"
    )
    for name in RAY.names:
        last = name.parts[-1] if name.name else name.module.removeprefix("ray.").split(".")[-1]
        assert re.search(rf"\b{last}\b", text), name.path


def test_few_places_use_the_internals_of_ray() -> None:
    """But for the list of their names, which imports no Ray."""
    users = {
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        if {
            module
            for module in modules_and_attributes(path.read_text("utf-8"))[0]
            if module.startswith("orchestrator.ray_internals.")
            and module != "orchestrator.ray_internals.names.RAY"
        }
    }
    assert {user for user in users if "/ray_internals/" not in user} == {
        "orchestrator/driver/cluster.py",
        "orchestrator/driver/joining.py",
        "orchestrator/driver/searcher.py",
        "orchestrator/driver/starting.py",
        "orchestrator/driver/tuning.py",
        "orchestrator/remote/jobs.py",
        "orchestrator/worker/runner.py",
    }


def test_few_places_talk_to_mlflow() -> None:
    """Everybody else has the port of `tracking/port.py` and the values of `tracking/runs.py`."""
    assert importers("mlflow") == {
        "orchestrator/tracking/adapter.py",  # its client
        "orchestrator/tracking/requests.py",  # and what that has no call for
        "orchestrator/tracking/connection.py",  # its messages
        "orchestrator/tracking/sweeps.py",  # one of its errors
        "orchestrator/tracking/patience.py",  # what its errors mean
        "orchestrator/tracking/plain_sql.py",
        "orchestrator/tracking/plain_search.py",  # its page tokens
        "orchestrator/tracking/database.py",  # its tables
        "orchestrator/tracking/schema.py",
        "orchestrator/publishing/model.py",  # a model, as it keeps it
        "orchestrator/publishing/serving.py",  # and runs it
        "orchestrator/deploy/accounts.py",  # on the server's own machine, what makes its accounts
    }


def test_mlflows_objects_stay_in_the_adapter() -> None:
    """Its client is typed `Any`, so no type checker would see one that leaks."""
    found = {
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in ("_tracking_client", "MlflowClient"))
        or (isinstance(node, ast.ImportFrom) and "MlflowClient" in [one.name for one in node.names])
    }
    assert found == {"orchestrator/tracking/adapter.py"}


def test_few_files_talk_to_timm() -> None:
    """`serving.py` is copied into every logged model, where this package is not installed."""
    assert importers("timm") - {"orchestrator/publishing/serving.py"} == {
        "trials/model/hub.py",  # its weights
        "trials/model/layers.py",  # what its models say of their layers
        "trials/model/vit.py",  # its models
        "trials/model/weights.py",  # how it converts the weights of others
    }


def test_the_served_model_stands_alone() -> None:
    assert not imported((ROOT / "orchestrator/publishing/serving.py").read_text("utf-8")) & set(
        PACKAGES
    )


def test_nobody_opens_a_pickle_but_the_reader_of_cifar10() -> None:
    assert importers("pickle") == {"trials/data/readers/cifar10.py"}
    for foreign in ("cloudpickle", "dill", "joblib", "shelve", "marshal"):
        assert not importers(foreign)


HEAVY = {"torch", "torchvision", "timm", "ray", "mlflow", "optuna", "altair", "vl_convert"}


TABLES = {"pandas", "sklearn"}


PLAN = """
import sys
from orchestrator import load_sweep, plan
assert plan(load_sweep(sys.argv[1])).nodes
"""


def test_the_look_into_a_process_sees_what_it_imports() -> None:
    assert {"click", "orchestrator"} <= loaded_by("import click.core, orchestrator")


def test_a_plan_of_a_known_model_imports_and_predicts_without_what_computes(tmp_path: Path) -> None:
    """The first one asks timm what the model can do."""
    path, known = str(tiny_sweep(tmp_path)), str(tmp_path)
    first, again = (loaded_by(PLAN, path, XDG_CACHE_HOME=known) for _ in range(2))
    predicted = loaded_by(COMMAND, "plan", path, XDG_CACHE_HOME=known)
    assert "timm" in first
    assert not (again | predicted) & (HEAVY | TABLES)


@pytest.mark.parametrize("args", [["--help"], ["schema"], ["list"], ["plan", "--help"]])
def test_help_and_schema_import_nothing_that_is_heavy(args: list[str]) -> None:
    assert not loaded_by(COMMAND, *args) & (HEAVY | TABLES | {"scipy"})
