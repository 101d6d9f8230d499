"""Running through the store: what is there is read, what is missing is computed, once."""

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import PlannedTrial, plan
from orchestrator.storage.codec import encode
from orchestrator.storage.keys import key_of
from orchestrator.storage.store import Entry, Store
from orchestrator.worker import cached as cached_module
from orchestrator.worker.cached import OBJECT_BYTES, Cached, Memory, held_bytes
from trials.context import Context, Outcomes, Progress
from trials.errors import StageInputError
from trials.stage import Node
from trials.stages import essential as essential_module
from trials.stages.essential import OneShot

Tiny = Callable[..., SweepConfig]


class Ran:
    """One executor on the only trial of a sweep, and which stages it computed."""

    def __init__(self, sweep: SweepConfig, memory: Memory | None = None) -> None:
        planned = plan(sweep)
        self.trial: PlannedTrial = planned.trials[0]
        self.store = Store(sweep.storage.path)
        self.started: list[str] = []
        self.progress: list[Progress] = []
        self.cached = Cached(
            self.store,
            planned.sources_of(self.trial.config).objects(),
            Context(progress=self.progress.append),
            memory or Memory(),
            lambda node: self.started.append(node.stage.name),
        )

    def all(self) -> dict[str, Any]:
        """Every result of the trial, as the worker asks for them."""
        return {name: self.cached.get(node) for name, node in self.trial.graph.stages().items()}

    def node(self, name: str) -> Node[Any]:
        """One stage of the trial."""
        return self.trial.graph.stages()[name]


STAGES = [
    "pretrained", "dense", "attention", "tickets", "essential", "denoise", "issp", "finetune",
    "profile", "evaluate",
]  # fmt: skip


def test_the_first_time_everything_is_computed_and_the_second_time_nothing(tiny: Tiny) -> None:
    first = Ran(tiny())
    made = first.all()
    assert first.started == STAGES
    assert set(first.cached.computed) == {key_of(n) for n in first.trial.graph.stages().values()}
    assert first.cached.hits == {}
    again = Ran(tiny())
    found = again.all()
    assert again.started == []
    assert again.cached.computed == {}
    assert set(again.cached.hits) == set(first.cached.computed)
    assert {n: encode(r) for n, r in found.items()} == {n: encode(r) for n, r in made.items()}
    assert all(entry.seconds > 0 for entry in again.cached.hits.values())


def test_the_store_changes_no_result(tiny: Tiny, results_of: dict[str, Any]) -> None:
    made = Ran(tiny()).all()
    for name in ("dense", "tickets", "essential", "denoise", "issp"):
        ours, direct = made[name], results_of[name]
        if name == "dense":
            ours, direct = ours.checkpoint, direct.checkpoint
        assert encode(ours) == encode(direct)
    assert encode(made["finetune"].checkpoint) == encode(results_of["finetune"].checkpoint)


def test_the_inputs_of_a_stored_result_are_not_read(tiny: Tiny) -> None:
    Ran(tiny()).all()
    again = Ran(tiny())
    for name in STAGES[:-1]:
        if entry := again.store.entry(again.node("final" if name == "evaluate" else name)):
            path = f"{again.store.root}/objects/{entry.object[:2]}/{entry.object}.safetensors"
            Path(path).unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert again.cached.get(again.trial.graph.final).sparsity == pytest.approx(0.6, abs=1e-3)
    assert again.started == []
    assert set(again.cached.hits) == {again.trial.key}


def test_a_changed_setting_recomputes_only_what_follows(tiny: Tiny) -> None:
    Ran(tiny()).all()
    other = Ran(tiny("", "issp.merge=majority"))
    other.all()
    assert other.started == ["issp", "finetune", "evaluate"]
    faster = Ran(tiny("", "finetune.lr=0.5"))
    faster.all()
    assert faster.started == ["finetune", "evaluate"]


def test_a_damaged_result_is_computed_again_and_nothing_else(tiny: Tiny) -> None:
    first = Ran(tiny())
    made = first.all()
    entry = first.store.entry(first.node("denoise"))
    assert entry is not None
    path = Path(f"{first.store.root}/objects/{entry.object[:2]}/{entry.object}.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    again = Ran(tiny())
    with pytest.warns(UserWarning, match="denoise"):
        found = again.all()
    assert again.started == ["denoise"]
    assert encode(found["denoise"]) == encode(made["denoise"])
    assert Ran(tiny()).all()


def test_an_interrupted_training_continues_and_gives_the_same_bits(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.storage.snapshots.SHARE", 1e9)  # an epoch here takes no time
    three = ("", "finetune.epochs=3")
    whole = Ran(tiny(*three)).all()["finetune"]
    broken = Ran(tiny(*three))
    node = broken.node("finetune")
    entry = broken.store.entry(node)
    assert entry is not None
    Path(f"{broken.store.root}/index/finetune/{entry.key}.json").unlink()

    def power_cut(step: Progress) -> None:
        if step.epoch is not None and step.done == 2:
            raise KeyboardInterrupt

    broken.cached.ctx = Context(progress=power_cut)
    with pytest.raises(KeyboardInterrupt):
        broken.cached.get(node)
    assert broken.store.entry(node) is None
    assert broken.store.snapshots(node).load() is not None
    again = Ran(tiny(*three))
    continued = again.cached.get(node)
    epochs = [step.done for step in again.progress if step.epoch is not None]
    assert epochs == [2, 3]
    assert encode(continued.checkpoint) == encode(whole.checkpoint)
    assert [e.val_loss for e in continued.history] == [e.val_loss for e in whole.history]
    assert again.store.snapshots(node).load() is None


def test_memory_spares_the_store(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory()
    Ran(tiny(), memory).all()
    monkeypatch.setattr(Store, "get", lambda *_: pytest.fail("the store was read"))
    again = Ran(tiny(), memory)
    again.all()
    assert again.started == []
    assert len(again.cached.hits) == len(STAGES)


def entry(size: int) -> Entry:
    """An entry of a result of that size."""
    return Entry(
        key="k", stage="s", version=1, object="o", bytes=size, seconds=1, work_macs=1,
        device="cpu", host="h", versions={}, created=0,
    )  # fmt: skip


def test_memory_forgets_what_was_used_longest_ago() -> None:
    memory = Memory(limit_bytes=2 * OBJECT_BYTES + 100)
    forty = {"keep": torch.ones(40, dtype=torch.bool)}
    for name in "ab":
        memory.put(name, forty, entry(5))
    assert memory.get("a") is not None
    memory.put("c", (forty,), entry(5))
    assert memory.get("b") is None
    assert memory.get("a") is not None
    assert memory.get("c") is not None
    memory.put("c", (forty,), entry(5))
    assert memory.get("a") is not None, "what is there already takes no more"
    memory.put("huge", torch.ones(10_000, dtype=torch.bool), entry(1250))
    assert memory.get("huge") is None
    assert memory.get("a") is None


def test_memory_counts_what_a_result_holds_not_what_the_store_keeps_of_it() -> None:
    mask = OneShot({"w": torch.ones(80, dtype=torch.bool)}, Outcomes(torch.ones(20) > 0, 0.0))
    assert held_bytes(mask) == 100
    assert held_bytes({"masks": [mask, mask], "name": "x"}) == 200


def test_an_entry_is_known_without_reading_the_result(tiny: Tiny) -> None:
    first = Ran(tiny())
    assert first.cached.entry(first.node("dense")) is None
    made = first.cached.get(first.node("dense"))
    assert isinstance(made.validation.correct, torch.Tensor)
    known = first.cached.entry(first.node("dense"))
    assert known is not None
    assert Ran(tiny()).cached.entry(first.node("dense")) == known


def faulty(monkeypatch: pytest.MonkeyPatch, stage: str, fault: Callable[[Context], None]) -> None:
    """Before a stage runs, `fault` is called with its context."""
    real = cached_module.call

    def call(node: Node[Any], ctx: Context, *args: Any) -> Any:
        if node.stage.name == stage:
            fault(ctx)
        return real(node, ctx, *args)

    monkeypatch.setattr(cached_module, "call", call)


@pytest.mark.slow
@pytest.mark.parametrize("error", [MemoryError, lambda: torch.empty(2**60, dtype=torch.uint8)])
def test_a_stage_whose_memory_runs_out_runs_again_with_half_the_images(
    error: Callable[[], Any], tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int | None] = []

    def scarce(ctx: Context) -> None:
        seen.append(ctx.micro_batch)
        if ctx.micro_batch is None or ctx.micro_batch > 100:
            raised = error()
            if isinstance(raised, BaseException):
                raise raised

    faulty(monkeypatch, "attention", scarce)
    ran = Ran(tiny())
    with pytest.warns(UserWarning, match="attention: memory ran out"):
        ran.all()
    assert seen == [None, 256, 128, 64]
    assert ran.cached.micro_batch == 64, "what follows in this trial starts with what sufficed"
    assert ran.started == STAGES


@pytest.mark.slow
def test_memory_that_does_not_suffice_for_one_image_is_an_error(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int | None] = []

    def scarce(ctx: Context) -> None:
        seen.append(ctx.micro_batch)
        raise MemoryError

    faulty(monkeypatch, "attention", scarce)
    with pytest.warns(UserWarning, match="memory ran out"), pytest.raises(MemoryError):
        Ran(tiny()).all()
    assert seen == [None, 256, 128, 64, 32, 16, 8, 4, 2, 1]


def test_any_other_error_is_not_tried_again(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int | None] = []

    def broken(ctx: Context) -> None:
        seen.append(ctx.micro_batch)
        raise ZeroDivisionError

    faulty(monkeypatch, "attention", broken)
    with pytest.raises(ZeroDivisionError):
        Ran(tiny()).all()
    assert seen == [None]


def test_a_result_with_nan_is_not_stored(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = Ran(tiny())
    real = essential_module.evaluate
    monkeypatch.setattr(
        essential_module, "evaluate", lambda *args: replace(real(*args), loss=math.nan)
    )
    with pytest.raises(StageInputError, match=r"essential: validation\.loss not finite"):
        ran.all()
    assert ran.store.entry(ran.node("essential")) is None


def test_what_an_earlier_attempt_of_the_same_trial_computed_is_no_hit(tiny: Tiny) -> None:
    def ran(owner: str) -> Ran:
        found = Ran(tiny())
        found.cached.owner = owner
        return found

    first = ran("sweep/trial")
    first.cached.get(first.node("essential"))
    again = ran("sweep/trial")
    again.all()
    assert again.cached.hits == {}
    assert len(again.cached.computed) == len(STAGES)
    other = ran("sweep/other")
    other.all()
    assert len(other.cached.hits) == len(STAGES)


def test_how_far_each_stage_is_can_be_told(tiny: Tiny) -> None:
    ran = Ran(tiny())
    told: dict[str, list[float]] = {}
    ran.cached.told = lambda stage, fraction: told.setdefault(stage, []).append(fraction)
    ran.all()
    assert told.keys() == {key_of(node) for node in ran.trial.graph.stages().values()}
    assert all(fractions[0] == 0.0 for fractions in told.values())
    assert told[key_of(ran.node("finetune"))] == [0.0, 0.5, 1.0]
    assert told[key_of(ran.node("denoise"))] == [0.0, 0.5, 1.0]
