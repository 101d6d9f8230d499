"""Private names of other packages: what is missing is found, and said in a line that helps."""

import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

from orchestrator.private_names import MLFLOW, TIMM, Package, PrivateName
from orchestrator.ray_internals.names import RAY

ROOT = Path(__file__).parents[2]

SOURCE = """\
LIMIT = 3
if LIMIT:
    def branch(): ...
else:
    other: int = 4

def _put(key, value, *, namespace=None): ...

def start(**options):
    return options.pop("_folder", None)

class Machine:
    KIND = "x"

    def __init__(self):
        self._wheels = []
        self.load: int = 0

    async def _turn(self, by): ...
"""


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package that would end the process of whoever imports it."""
    folder = tmp_path / "lotus_test_engine"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit(1)\n")
    (folder / "inner" / "__init__.py").write_text("raise SystemExit(1)\n")
    (folder / "inner" / "parts.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return f"{folder.name}.inner.parts"


def missing(*names: PrivateName) -> list[str]:
    return Package("x", "1", "x", names).missing()


@pytest.mark.parametrize(
    ("name", "takes"),
    [
        ("", ()),
        ("LIMIT", ()),
        ("branch", ()),
        ("other", ()),
        ("_put", ("key", "namespace")),
        ("start", ("_folder",)),
        ("Machine", ()),
        ("Machine.KIND", ()),
        ("Machine._wheels", ()),
        ("Machine.load", ()),
        ("Machine._turn", ("by",)),
    ],
)
def test_what_is_there_is_found_without_importing_it(
    name: str, takes: tuple[str, ...], engine: str
) -> None:
    assert missing(PrivateName(engine, name, "a test", takes)) == []
    assert "lotus_test_engine" not in sys.modules


@pytest.mark.parametrize(
    ("name", "takes", "said"),
    [
        ("gone", (), "{}.gone (a test)"),
        ("LIMIT.gone", (), "{}.LIMIT.gone (a test)"),
        ("Machine.gone", (), "{}.Machine.gone (a test)"),
        ("Machine._turn.gone", (), "{}.Machine._turn.gone (a test)"),
        ("_put", ("namespace", "overwrite"), "overwrite of {}._put (a test)"),
        ("_put", ("_folder",), "_folder of {}._put (a test)"),
        ("Machine._wheels", ("size",), "size of {}.Machine._wheels (a test)"),
    ],
)
def test_what_is_not_there_is_named_with_what_it_is_for(
    name: str, takes: tuple[str, ...], said: str, engine: str
) -> None:
    assert missing(PrivateName(engine, name, "a test", takes)) == [said.format(engine)]


@pytest.mark.parametrize("module", ["lotus_test_engine.gone", "no_such_package_at_all.parts"])
def test_a_module_that_is_not_there_is_missing(module: str, engine: str) -> None:
    assert missing(PrivateName(module, "", "a test")) == [f"{module} (a test)"]


def test_one_line_says_what_is_missing_in_which_version_and_what_to_install(engine: str) -> None:
    names = (PrivateName(engine, "_put", "notes"), PrivateName(engine, "_wheels", "driving"))
    package = Package("click", "8.0.1", "click[all]", names)
    assert package.verdict() == (
        False,
        f"click {metadata.version('click')} lacks {engine}._wheels (driving): "
        "install `click[all]==8.0.1`",
    )
    good = Package("click", "8.0.1", "click", names[:1])
    assert good.verdict() == (True, f"click {metadata.version('click')} has all 1 that are used")


@pytest.mark.parametrize("package", [RAY, MLFLOW, TIMM], ids=lambda package: package.name)
class TestInstalled:
    """The versions that are installed here."""

    def test_every_private_name_exists(self, package: Package) -> None:
        assert package.missing() == []

    def test_the_tested_version_is_the_locked_one(self, package: Package) -> None:
        lock = (ROOT / "requirements.lock").read_text("utf-8")
        assert re.findall(rf"^{package.name}==(\S+)", lock, re.MULTILINE) == [package.tested]

    def test_what_is_to_be_installed_is_a_requirement_of_ours(self, package: Package) -> None:
        asked = metadata.requires("lotus-sweep") or []
        own = [one for one in asked if re.match(rf"{package.name}\b(?!.*extra)", one)]
        assert [re.split("[<>=]", one)[0] for one in own] == [package.install]
