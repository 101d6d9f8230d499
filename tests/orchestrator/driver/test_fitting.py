"""`resources.gpu: auto` without a GPU: what follows from an answer, and when a device is asked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator import load_sweep
from orchestrator.driver import capacity, fitting
from orchestrator.planning.plan import Plan, plan
from orchestrator.planning.sections import ResourcesSection
from tests.conftest import tiny_sweep

GIB = 2**30


@pytest.mark.parametrize(
    ("needs_gib", "total_gib", "share"),
    [
        (100, 80, 1.0),
        (60, 80, 1.0),
        (36, 80, 1.0),  # two would need 74 of 73.6
        (35, 80, 0.5),
        (23, 80, 0.3333),
        (1, 80, 0.0277),
        (0, 16, 0.0714),
    ],
)
def test_as_many_trials_share_a_device_as_it_holds(
    needs_gib: float, total_gib: float, share: float
) -> None:
    found = fitting.share_of(int(needs_gib * GIB), int(total_gib * GIB))
    assert found == pytest.approx(share)
    node = [capacity.Node("n", {"CPU": 100, "GPU": 2, "accelerator_type:A100": 1})]
    fits = capacity.slots(ResourcesSection(gpu=found), node)
    own = needs_gib * GIB + fitting.BESIDE_BYTES
    assert fits >= 2
    assert fits // 2 * own <= fitting.USABLE * total_gib * GIB or fits == 2, "no device overflows"
    assert (fits // 2 + 1) * own > fitting.USABLE * total_gib * GIB, "none has room for one more"


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "sweep").mkdir()
    return plan(load_sweep(tiny_sweep(tmp_path / "sweep")))


Asked = list[tuple[str, int]]


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Asked]:
    """A cluster with these kinds of devices; keeps what each was asked for."""

    def make(**gib: int) -> Asked:
        asked: Asked = []

        def ask(kind: str, trial: Any, opened: Any, say: Callable[[str], None]) -> dict[str, int]:
            say(f"measured on {kind}")
            asked.append((kind, trial.finetune.batch_size))
            return {"needs": 7 * GIB, "total": gib[kind] * GIB}

        monkeypatch.setattr(fitting, "_kinds", lambda resources: sorted(gib))
        monkeypatch.setattr(fitting, "_ask", ask)
        return asked

    return make


def test_a_number_is_left_alone(planned: Plan, devices: Callable[..., Asked]) -> None:
    asked = devices(A100=80)
    given = ResourcesSection(gpu=0.25)
    assert fitting.fitted(given, planned, print) is given
    assert asked == []


def test_the_device_with_least_room_decides_and_each_kind_is_asked_once(
    planned: Plan, devices: Callable[..., Asked]
) -> None:
    asked, said = devices(A100=80, L4=24), list[str]()
    given = ResourcesSection(gpu="auto", cpu=2)
    found = fitting.fitted(given, planned, said.append)
    assert (found.gpu, found.cpu) == (pytest.approx(0.5), 2)
    assert [kind for kind, _ in asked] == ["A100", "L4"]
    assert said == ["measured on A100", "measured on L4"]
    assert fitting.fitted(given, planned, said.append) == found
    assert len(asked) == 2, "what was measured is kept"


def test_a_damaged_answer_is_asked_again(
    planned: Plan, devices: Callable[..., Asked], tmp_path: Path
) -> None:
    asked, given = devices(A100=80), ResourcesSection(gpu="auto")
    found = fitting.fitted(given, planned, print)
    (file,) = (tmp_path / "cache/lotus-sweep/memory").iterdir()
    file.write_text("{")
    assert fitting.fitted(given, planned, print) == found
    assert len(asked) == 2


def test_another_batch_is_another_question(
    planned: Plan, devices: Callable[..., Asked], tmp_path: Path
) -> None:
    asked, given = devices(A100=80), ResourcesSection(gpu="auto")
    fitting.fitted(given, planned, print)
    (path,) = (tmp_path / "sweep").glob("*.yaml")
    larger = load_sweep(path, ["finetune.batch_size=99"])
    fitting.fitted(given, plan(larger), print)
    assert [size for _, size in asked][1] == 99


def test_a_device_without_a_name_is_asked_each_time(
    planned: Plan, devices: Callable[..., Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = devices(unknown=80)
    monkeypatch.setattr(fitting, "_kinds", lambda resources: [""])
    real = fitting._ask
    monkeypatch.setattr(fitting, "_ask", lambda kind, *rest: real("unknown", *rest))
    for _ in range(2):
        fitting.fitted(ResourcesSection(gpu="auto"), planned, print)
    assert len(asked) == 2


def test_a_whole_device_is_asked_for_until_it_is_measured() -> None:
    asked = ResourcesSection(gpu="auto")
    assert (asked.gpus, capacity.bundle(asked)["GPU"]) == (1.0, 1.0)


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("out"), None])
def test_a_trial_that_does_not_fit_needs_all(
    planned: Plan, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    def dry_run(*given: Any) -> None:
        if error:
            raise error

    monkeypatch.setattr("trials.graph.dry.dry_run", dry_run)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (5, 80))
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 7)
    trial = planned.trials[0].config
    found = fitting.memory_of(trial.model_dump_json(), planned.sources_of(trial))
    assert found == {"needs": 80 if error else 7, "total": 80}
