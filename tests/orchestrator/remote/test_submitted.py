"""Where a submitted job works: nowhere that somebody else can put a module."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from orchestrator.surroundings import private_folder

ROOT = Path(__file__).parents[3]

LEAVES = """
import os, sys
from orchestrator.remote import submitted
submitted._leave()
print(os.getcwd())
print(os.getcwd() in sys.path or "" in sys.path[1:])
"""


@pytest.fixture
def common(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder into which everybody may write."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tmp_path.chmod(0o1777)
    return tmp_path


def test_a_job_without_a_home_works_in_a_folder_of_its_own(tmp_path: Path) -> None:
    """Not in the temporary one, where everybody may put a `yaml.py`."""
    tmp_path.chmod(0o1777)
    done = subprocess.run(
        [sys.executable, "-c", LEAVES],
        cwd=ROOT,
        env=os.environ | {"HOME": "/nowhere", "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    here, imports = done.stdout.splitlines()
    assert Path(here).parent == tmp_path
    assert Path(here).stat().st_mode & 0o777 == 0o700
    assert imports == "False"


def test_the_private_folder_is_the_same_every_time(common: Path) -> None:
    assert private_folder() == private_folder() == str(common / f"lotus-{os.getuid()}")


def test_a_private_folder_that_somebody_else_has_made_is_not_used(common: Path) -> None:
    """A link, or one that others may write into."""
    planted = common / f"lotus-{os.getuid()}"
    (common / "theirs").mkdir()
    planted.symlink_to(common / "theirs")
    assert Path(private_folder()).parent == common
    assert Path(private_folder()).resolve() != common / "theirs"
    planted.unlink()
    planted.mkdir()
    planted.chmod(0o777)
    found = Path(private_folder())
    assert found != planted
    assert found.stat().st_mode & 0o777 == 0o700
