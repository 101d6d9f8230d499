"""Data flows one way: who may import whom, read from the source, functions included.

And what a process imports that computes nothing.
"""

import ast
from pathlib import Path

import pytest

from tests.conftest import COMMAND, loaded_by, tiny_sweep

ROOT = Path(__file__).parent.parent
PACKAGES = ("trials", "orchestrator", "dashboards")
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))


def imported(source: str) -> set[str]:
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
    return found


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
    "search",
    "storage",
    "planning",
    "tracking",
    "selection",
    "worker",
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
    "model": {"data", "tokens"},
    "sparsity": {"model"},
    "training": {"data", "tokens", "model", "sparsity"},
    "stages": {"data", "tokens", "model", "sparsity", "training"},
    "config": {"data", "tokens", "model", "sparsity", "stages"},
    "graph": {"data", "tokens", "model", "sparsity", "training", "stages", "config"},
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
    assert {"context", "errors", "formats", "lazy", "seeding", "stage"} <= BELOW_THE_WINGS
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
        "orchestrator/driver/tune_private.py",
        "orchestrator/worker/exporter.py",
        "orchestrator/remote/jobs.py",
        "orchestrator/driver/joining.py",
        "orchestrator/worker/runner.py",
        "orchestrator/driver/searcher.py",
        "orchestrator/driver/starting.py",
    }


def test_tracking_and_the_best_model_alone_talk_to_mlflow() -> None:
    """And on the server's own machine what makes its accounts."""
    assert importers("mlflow") == {
        "orchestrator/deploy/accounts.py",
        "orchestrator/tracking/tracker.py",
        "orchestrator/tracking/artifacts.py",
        "orchestrator/tracking/connection.py",
        "orchestrator/tracking/database.py",
        "orchestrator/tracking/histories.py",
        "orchestrator/tracking/patience.py",
        "orchestrator/tracking/places.py",
        "orchestrator/tracking/plain_sql.py",
        "orchestrator/tracking/reconcile.py",
        "orchestrator/tracking/runlog.py",
        "orchestrator/tracking/schema.py",
        "orchestrator/reading/best.py",
        "orchestrator/reading/serving.py",
    }


def test_two_files_talk_to_timm() -> None:
    """`serving.py` is copied into every logged model, where this package is not installed."""
    assert importers("timm") - {"orchestrator/reading/serving.py"} == {
        "trials/model/hub.py",  # its weights
        "trials/model/vit.py",  # its models
    }


def test_the_served_model_stands_alone() -> None:
    assert not imported((ROOT / "orchestrator/reading/serving.py").read_text("utf-8")) & set(
        PACKAGES
    )


def test_nobody_opens_a_pickle_but_the_reader_of_cifar10() -> None:
    assert importers("pickle") == {"trials/data/datasets.py"}
    for foreign in ("cloudpickle", "dill", "joblib", "shelve", "marshal"):
        assert not importers(foreign)


HEAVY = {"torch", "torchvision", "timm", "ray", "mlflow", "optuna", "matplotlib"}


PLAN = "from orchestrator import load_sweep, plan\nassert plan(load_sweep('digits')).nodes"


def test_the_look_into_a_process_sees_what_it_imports() -> None:
    assert {"click", "orchestrator"} <= loaded_by("import click.core, orchestrator")


def test_a_plan_imports_nothing_that_computes() -> None:
    assert not loaded_by(PLAN) & HEAVY


@pytest.mark.parametrize("args", [["--help"], ["schema"], ["list"], ["plan", "--help"]])
def test_help_and_schema_import_nothing_that_is_heavy(args: list[str]) -> None:
    assert not loaded_by(COMMAND, *args) & (HEAVY | {"pandas", "scipy", "sklearn"})


def test_a_plan_of_a_known_model_predicts_without_what_computes(tmp_path: Path) -> None:
    """The first one asks timm for the model's shape."""
    path = tiny_sweep(tmp_path)
    first, again = (
        loaded_by(COMMAND, "plan", str(path), XDG_CACHE_HOME=str(tmp_path)) for _ in range(2)
    )
    assert "timm" in first
    assert not again & HEAVY
