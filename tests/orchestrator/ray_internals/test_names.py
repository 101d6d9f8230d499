"""The private names of Ray and Tune, in the version that is installed: they exist and import."""

import importlib
import logging
from pathlib import Path

import pytest

import orchestrator.ray_internals
from orchestrator.ray_internals.names import RAY, PrivateName
from tests.conftest import loaded_by

HERE = Path(orchestrator.ray_internals.__file__).parent


@pytest.mark.parametrize("name", RAY.names, ids=lambda name: name.path)
def test_the_installed_version_has_it_and_there_is_a_reason(name: PrivateName) -> None:
    alone = RAY.__class__(RAY.name, RAY.tested, RAY.install, (name,))
    assert alone.missing() == []
    assert len(name.why.split()) >= 3


@pytest.mark.parametrize("module", sorted(path.stem for path in HERE.glob("[a-z]*.py")))
def test_every_module_of_it_can_be_imported(module: str) -> None:
    assert importlib.import_module(f"orchestrator.ray_internals.{module}").__doc__


def test_the_list_is_read_without_ray() -> None:
    assert "ray" not in loaded_by("import orchestrator.ray_internals.names")


def test_loggers_that_are_silenced_exist() -> None:
    """A logger of another name would be made without a word, and silence nothing."""
    from orchestrator.ray_internals import job_client

    before = set(logging.root.manager.loggerDict)
    assert {f"ray.{name}" for name in job_client.CHATTY} <= before | {
        name.module for name in RAY.names if not name.name
    }


def test_an_instance_has_what_its_class_promises() -> None:
    """What the source of a class says is there when it is made."""
    from ray.job_config import JobConfig
    from ray.tune.experiment.trial import Trial

    from orchestrator.ray_internals.tuning import process_of

    trial = Trial("nothing", stub=True)
    assert process_of(trial) is None
    assert JobConfig()._py_driver_sys_path == []
