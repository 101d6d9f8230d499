"""Every training continues inside its stage, bit for bit, or starts over."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from tests.trials.conftest import Memory
from tests.trials.helpers import NOTHING, same
from trials.context import Context, Outcomes, Progress
from trials.data.datasets import Dataset
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.sparsity.masks import KeepMask
from trials.stages.denoise import DenoiseConfig, denoise
from trials.stages.dense import Dense, DenseConfig, dense
from trials.stages.essential import OneShot, OneShotConfig, essential
from trials.stages.finetune import RecoverConfig, finetune
from trials.stages.pretrained import Pretrained
from trials.stages.probe import ProbeConfig, probe
from trials.stages.rung import RungConfig, rung
from trials.stages.tickets import Tickets
from trials.training.recipe import TrainConfig
from trials.training.train import Trainer

Run = Callable[[Context], Any]
Stages = dict[str, Run]

RECIPE = {"lr": 3e-3, "batch_size": 50, "weight_decay": 0.1, "schedule": "cosine"}
MOVED = RECIPE | {"flip": True, "crop": 1, "warmup_steps": 2, "grad_clip": 1.0}
SOUP = {
    "target_sparsity": 0.6, "ingredients": 3, "steps": 5, "lr": 1e-2, "batch_size": 25,
    "mask_data_fraction": 0.5,
}  # fmt: skip
NAMES = [
    "dense", "dense-probe", "dense-layers", "finetune-ticket", "finetune-random",
    "finetune-online", "rung", "rung-above",
    "essential", "probe", "denoise", "denoise-own", "denoise-short",
    "denoise-layers", "steps",
]  # fmt: skip


@pytest.fixture(scope="module")
def stages(
    small: Dataset, make_checkpoint: Callable[..., Checkpoint], half: KeepMask, ticket: Tensor
) -> Stages:
    """Every stage that trains, in each of the ways in which it does."""
    start = Pretrained(make_checkpoint(drop_rate=0.2, proj_drop_rate=0.1))
    adapted = Dense(make_checkpoint(seed=1), (), Outcomes(torch.ones(40).bool(), 0.0), NOTHING)
    mask = OneShot(half, NOTHING)
    base: dict[str, Any] = {"seed": 0, "data": small, "model": start, "mask": mask}
    base |= {"tickets": Tickets(ticket, ticket[:40], ticket[:40]), "teacher": None, "scorer": None}
    after = OneShotConfig(
        sparsity=0.5,
        evaluate="after_finetune",
        recipe=TrainConfig.model_validate(RECIPE),
        epochs=3,
    )
    scored = {"seed": 0, "data": small, "model": adapted, "scored": adapted, "scores": None}
    bisect = ProbeConfig(
        tolerance=0.5,
        levels=(0.1, 0.5),
        refine=0.1,
        one_shot=after.model_copy(update={"sparsity": None}),
    )
    curve = [OneShot(half, Outcomes(torch.full((40,), right), 0.0)) for right in (True, False)]

    def recover(ctx: Context, patches: str, **more: Any) -> Any:
        own = {"online": {}} if more else {}
        cfg = RecoverConfig.model_validate(
            MOVED | {"epochs": 3, "patches": patches, "crop": int(patches == "random")} | own
        )
        return finetune(cfg, ctx, **base | more)

    def climb(ctx: Context, **more: Any) -> Any:
        cfg = RungConfig.model_validate(MOVED | {"epochs": 5, "patches": "random"} | more)
        below = None
        if cfg.stop > 2:
            below = rung(cfg.model_copy(update={"stop": 1}), Context(), before=None, **base)
        return rung(cfg, ctx, before=below, **base)

    def soup(ctx: Context, **more: Any) -> Any:
        cfg = DenoiseConfig.model_validate(SOUP | more)
        model = Pretrained(make_checkpoint(proj_drop_rate=0.1))
        return denoise(cfg, ctx, seed=0, data=small, model=model, first=mask, within=None)

    def plain(ctx: Context) -> Any:
        model = Model.of(start.checkpoint, ctx.device)
        cfg = TrainConfig.model_validate(MOVED)
        trainer = Trainer(model, small, cfg, ctx, 0, keep=half)
        return trainer.steps(5), model.checkpoint()

    return {
        "dense": lambda ctx: dense(
            DenseConfig.model_validate(RECIPE | {"epochs": 3}),
            ctx, seed=0, data=small, model=start,
        ),
        "dense-probe": lambda ctx: dense(
            DenseConfig.model_validate(RECIPE | {"epochs": 3, "train": "head"}),
            ctx, seed=0, data=small, model=start,
        ),
        "dense-layers": lambda ctx: dense(
            DenseConfig.model_validate(RECIPE | {"epochs": 3, "layer_decay": 0.7, "no_decay":
                                                 "timm"}),
            ctx, seed=0, data=small, model=start,
        ),
        "finetune-ticket": lambda ctx: recover(ctx, "ticket"),
        "finetune-random": lambda ctx: recover(ctx, "random"),
        "finetune-online": lambda ctx: recover(ctx, "ticket", scorer=adapted, teacher=adapted),
        "rung": lambda ctx: climb(ctx, stop=2),
        "rung-above": lambda ctx: climb(ctx, stop=4),
        "essential": lambda ctx: essential(after, ctx, picked=None, like=None, **scored),
        "probe": lambda ctx: probe(bisect, ctx, curve=curve, probes=(), **scored),
        "denoise": lambda ctx: soup(ctx, mean_weights=True),
        "denoise-own": lambda ctx: soup(ctx, subset="own", steps="pass", levels=(0.6, 0.7)),
        "denoise-short": lambda ctx: soup(ctx, steps=1),
        "denoise-layers": lambda ctx: soup(ctx, layer_decay=0.7, no_decay="timm"),
        "steps": plain,
    }  # fmt: skip


@pytest.fixture(scope="module")
def whole(stages: Stages) -> Callable[[str], Any]:
    """The result of a stage that was never disturbed, computed once."""
    found: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in found:
            found[name] = stages[name](Context())
        return found[name]

    return get


def saved_by(run: Run, number: int) -> Memory:
    """What a process leaves behind that dies right after its save `number`, from 1."""
    memory = Memory(dies_after=number)
    with pytest.raises(KeyboardInterrupt):
        run(Context(snapshots=memory))
    return memory


def steps_of(run: Callable[[], object]) -> int:
    """How many optimizer steps a run makes."""
    made = 0

    def count(*_: object) -> None:
        nonlocal made
        made += 1

    handle = register_optimizer_step_pre_hook(count)
    try:
        run()
    finally:
        handle.remove()
    return made


def saves_of(run: Run) -> int:
    memory = Memory()
    run(Context(snapshots=memory))
    return memory.saves


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_stage_that_died_at_any_snapshot_ends_as_if_it_had_not(
    stages: Stages, whole: Callable[[str], Any], name: str
) -> None:
    run, expected = stages[name], whole(name)
    saves = saves_of(run)
    assert saves >= (1 if name == "rung" else 2)
    for number in range(1, saves + 1):
        memory = saved_by(run, number)
        memory.dies_after = None
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert same(run(Context(snapshots=memory)), expected), f"died at save {number}"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_stage_that_dies_at_every_snapshot_gets_on_and_repeats_no_step(
    stages: Stages, whole: Callable[[str], Any], name: str
) -> None:
    run, expected = stages[name], whole(name)
    memory, results = Memory(), []

    def attempts() -> None:
        while not results:
            memory.dies_after = memory.saves + 1
            try:
                results.append(run(Context(snapshots=memory)))
            except KeyboardInterrupt:
                continue

    needed = steps_of(lambda: run(Context()))
    # The rung below is made anew by each attempt of this test.
    below = 2 if name == "rung-above" else 0
    assert steps_of(attempts) == needed + below * memory.saves
    assert same(results[0], expected)
    assert memory.saves == saves_of(run)


@pytest.mark.parametrize("name", NAMES)
def test_saving_changes_nothing(stages: Stages, whole: Callable[[str], Any], name: str) -> None:
    assert same(stages[name](Context(snapshots=Memory())), whole(name))


@pytest.mark.parametrize("name", ["dense", "finetune-online", "denoise"])
def test_work_that_was_interrupted_between_snapshots_is_repeated_to_the_same_bits(
    stages: Stages, whole: Callable[[str], Any], name: str
) -> None:
    def die(step: Progress) -> None:
        if step.done == 2:
            raise KeyboardInterrupt

    memory, told = Memory(), list[int]()
    with pytest.raises(KeyboardInterrupt):
        stages[name](Context(progress=die, snapshots=memory))
    ctx = Context(progress=lambda step: told.append(step.done), snapshots=memory)
    assert same(stages[name](ctx), whole(name))
    assert told == [2, 3], "what is finished must not be told again"


def test_a_smaller_micro_batch_goes_on_from_what_was_saved(
    stages: Stages, whole: Callable[[str], Any]
) -> None:
    memory = saved_by(stages["essential"], 1)
    memory.dies_after = None
    assert steps_of(lambda: stages["essential"](Context(snapshots=memory, micro_batch=9))) == 4
    found = stages["essential"](Context(snapshots=memory, micro_batch=9))
    assert found.validation.loss == pytest.approx(whole("essential").validation.loss, rel=0.05)


Mutation = Callable[[dict[str, Tensor], dict[str, Any]], object]


def last(change: Callable[[Tensor], Tensor]) -> Mutation:
    """Change one tensor: a moment of the last parameter."""

    def mutate(tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        name = [one for one in sorted(tensors) if "exp_avg" in one][-1]
        tensors[name] = change(tensors[name])

    return mutate


def empty(tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    tensors.clear()
    values.clear()


def rename(tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    name = sorted(tensors)[len(tensors) // 2]
    tensors[name + "x"] = tensors.pop(name)


def inner(values: dict[str, Any]) -> dict[str, Any]:
    """The values of the training itself."""
    found: dict[str, Any] = values["training"] if "stage" in values else values
    return found


MUTATIONS: dict[str, Mutation] = {
    "shape": last(lambda t: torch.cat([t.flatten(), t.flatten()])),
    "dtype": last(lambda t: t.half()),
    "nan": last(lambda t: torch.full_like(t, torch.nan)),
    "missing": lambda tensors, values: tensors.pop(sorted(tensors)[-1]),
    "renamed": rename,
    "added": lambda tensors, values: tensors.update({"training.other.x": torch.zeros(2)}),
    "step": lambda tensors, values: inner(values).update(done=inner(values)["done"] + 1),
    "done-true": lambda tensors, values: inner(values).update(done=True),
    "history": lambda tensors, values: inner(values)["history"].append("text"),
    "history-nan": lambda tensors, values: inner(values)["history"].append(float("nan")),
    "shorter": lambda tensors, values: inner(values)["history"].pop(),
    "seed": lambda tensors, values: inner(values)["training"].update(seed=5),
    "recipe": lambda tensors, values: inner(values)["training"]["recipe"].update(lr=0.5),
    "images": lambda tensors, values: inner(values)["training"].update(images=90),
    "empty": empty,
}


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("name", ["dense", "steps", "denoise", "rung-above"])
def test_a_state_that_does_not_fit_is_refused_and_the_training_starts_over(
    stages: Stages, whole: Callable[[str], Any], name: str, mutation: str
) -> None:
    memory = saved_by(stages[name], 1)
    assert memory.saved is not None
    memory.dies_after = None
    MUTATIONS[mutation](*memory.saved)
    with pytest.warns(UserWarning, match="does not fit this training, which starts over"):
        found = stages[name](Context(snapshots=memory))
    assert same(found, whole(name))


SOUP_MUTATIONS: dict[str, Mutation] = {
    "settings": lambda tensors, values: values["stage"]["soup"].update(lr=0.5),
    "losses": lambda tensors, values: values["stage"]["losses"].append(0.1),
    "no losses": lambda tensors, values: values["stage"].update(losses=None),
    "count": lambda tensors, values: (
        tensors["stage.keep0.blocks.0.attn.qkv.weight"].bitwise_not_() is None
    ),
    "score": lambda tensors, values: tensors.update(
        {"stage.scores.blocks.0.attn.qkv.weight": torch.zeros(3)}
    ),
    "weights": lambda tensors, values: tensors.pop("stage.weights.head.bias"),
    "other stage": lambda tensors, values: values.pop("stage"),
}


@pytest.mark.parametrize("mutation", SOUP_MUTATIONS)
def test_finished_ingredients_that_do_not_fit_are_made_again(
    stages: Stages, whole: Callable[[str], Any], mutation: str
) -> None:
    # Save 3 of this soup is the first with a finished ingredient.
    memory = saved_by(stages["denoise"], 3)
    assert memory.saved is not None
    assert len(memory.saved[1]["stage"]["losses"]) == 1
    memory.dies_after = None
    SOUP_MUTATIONS[mutation](*memory.saved)
    with pytest.warns(UserWarning, match="does not fit this training, which starts over"):
        found = stages["denoise"](Context(snapshots=memory))
    assert same(found, whole("denoise"))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 5), st.floats(), st.text(max_size=3)),
    lambda inside: st.lists(inside, max_size=2) | st.dictionaries(st.text(max_size=3), inside),
    max_leaves=4,
)


@pytest.mark.parametrize("name", ["steps", "denoise-short"])
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
@pytest.mark.filterwarnings("ignore:a saved state does not fit")
def test_whatever_the_saved_values_are_the_result_is_right(
    stages: Stages, whole: Callable[[str], Any], name: str, data: st.DataObject
) -> None:
    memory = saved_by(stages[name], 1)
    assert memory.saved is not None
    memory.dies_after = None
    _, values = memory.saved
    place: Any = values
    while True:
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        deeper = isinstance(place[key], dict | list) and len(place[key]) > 0
        if not deeper or data.draw(st.booleans()):
            break
        place = place[key]
    if key in ("losses", "history") or isinstance(place, list):
        # A digit of a loss that was changed is for the digest of the store to find.
        place[key] = data.draw(JSON.filter(lambda new: not _numbers(new)))
    else:
        place[key] = data.draw(JSON)
    found = stages[name](Context(snapshots=memory))
    assert same(found, whole(name))


def _numbers(value: Any) -> bool:
    found = value if isinstance(value, list) and value else [value]
    return all(type(one) in (int, float) for one in found)


def test_a_state_of_another_stage_is_refused(stages: Stages, whole: Callable[[str], Any]) -> None:
    for name, other in (("dense", "denoise"), ("denoise", "dense"), ("dense", "essential")):
        memory = saved_by(stages[other], 2)
        memory.dies_after = None
        with pytest.warns(UserWarning, match="starts over"):
            assert same(stages[name](Context(snapshots=memory)), whole(name))


def test_what_an_older_version_saved_is_refused(
    stages: Stages, whole: Callable[[str], Any]
) -> None:
    memory = saved_by(stages["dense"], 1)
    assert memory.saved is not None
    memory.dies_after = None
    del memory.saved[1]["training"]
    with pytest.warns(UserWarning, match="starts over"):
        assert same(stages["dense"](Context(snapshots=memory)), whole("dense"))
