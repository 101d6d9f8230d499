from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import timm
import torch
from torch import Tensor

import trials
from trials import Context, TrialConfig, TrialResult, run_trial
from trials.arms import MASKED, PRUNED, SEED_SYSTEMS, TICKETED, ArmName
from trials.graph.execute import Direct, call
from trials.model.vit import Checkpoint, ModelConfig
from trials.sparsity import masks
from trials.sparsity.masks import KeepMask
from trials.stage import Node, Source, Stage, StageConfig

ARMS: tuple[str, ...] = get_args(ArmName)
Run = Callable[..., TrialResult]


@pytest.fixture(scope="module")
def run(tiny_trial: Callable[..., TrialConfig]) -> Run:
    """Run a tiny trial; the same settings run once."""
    done: dict[str, TrialResult] = {}

    def made(**changes: Any) -> TrialResult:
        trial = tiny_trial(**changes)
        key = trial.model_dump_json()
        if key not in done:
            done[key] = run_trial(trial)
        return done[key]

    return made


def mask_of(result: TrialResult) -> KeepMask:
    for name in ("control", "issp", "essential"):
        if name in result.results:
            keep: KeepMask = result.results[name].keep
            return keep
    return {}


def state_of(result: TrialResult) -> dict[str, Tensor]:
    state: dict[str, Tensor] = result.results["finetune"].checkpoint.state
    return state


@pytest.mark.slow
@pytest.mark.parametrize("arm", ARMS)
def test_a_trial_of_every_arm_runs_from_end_to_end(run: Run, arm: str) -> None:
    inside = arm in SEED_SYSTEMS and arm not in TICKETED
    result = run(arm=arm, **({"reduction": {"method": "tome", "r": 3}} if inside else {}))
    final, state, keep = result.results["final"], state_of(result), mask_of(result)
    arch = result.results["finetune"].checkpoint.arch

    # The final model is a plain timm model.
    module = timm.create_model(arch.name, **arch.kwargs)
    module.load_state_dict(state, strict=True)
    assert sum(p.numel() for p in module.parameters()) == result.results["profile"].parameters

    # It has exactly the asked sparsity, and zeros outside its mask.
    total = masks.size(masks.prunable(Checkpoint(arch, state)))
    level = 0.5 if arm in MASKED or "control" in result.results else 0.3
    if arm not in PRUNED:
        assert keep == {}
        assert final.sparsity == 0
    else:
        assert masks.kept(keep) == total - round(level * total)
        assert final.sparsity == pytest.approx(level, abs=1 / total)
        dropped = [state[name][~kept] for name, kept in keep.items()]
        assert not any(d.any() or d.signbit().any() for d in dropped)
        assert all(bool(state[name][kept].any()) for name, kept in keep.items())

    # What is reported fits together.
    assert (final.test_ticket is not None) == (arm in TICKETED)
    fewer = inside or arm in TICKETED
    assert (final.macs < final.macs_dense) == fewer
    assert (final.block_tokens != ()) == inside
    assert final.macs_selector == (final.macs_dense if arm in TICKETED else 0)
    assert (final.deployed_test is final.test) == (not fewer)
    assert final.macs_training > 2 * 3 * 200 * final.macs
    assert len(final.validation.correct) == 200
    assert len(final.test.correct) == 500
    measured = final.deployed_validation if inside else final.validation
    assert measured.loss == result.results["finetune"].history[-1].val_loss
    if arm in TICKETED:
        assert result.results["tickets"].kept == 12
    if arm in MASKED:
        assert masks.contains(result.results["essential"].keep, keep)


def test_the_same_trial_gives_the_same_bits_again(
    run: Run, tiny_trial: Callable[..., TrialConfig]
) -> None:
    first, again = run(arm="lotus"), run_trial(tiny_trial(arm="lotus"))
    assert all(torch.equal(state_of(first)[n], t) for n, t in state_of(again).items())
    assert torch.equal(first.results["final"].test.correct, again.results["final"].test.correct)
    other = run(arm="lotus", seed=1)
    assert not all(torch.equal(state_of(first)[n], t) for n, t in state_of(other).items())


def test_lotus_with_nothing_removed_is_the_dense_arm_bit_for_bit(run: Run) -> None:
    plain = run(arm="dense", finetune=finetune())
    tickets = run(arm="tickets", patch_drop=0.0, finetune=finetune())
    essential = run(arm="essential", sparsity=0.0, finetune=finetune())
    for other in (tickets, essential):
        assert all(torch.equal(state_of(plain)[n], t) for n, t in state_of(other).items())
        found, expected = other.results["final"], plain.results["final"]
        assert torch.equal(found.test.correct, expected.test.correct)
        assert found.test.loss == expected.test.loss
    assert tickets.results["final"].test_ticket.loss == plain.results["final"].test.loss


def finetune(**changes: Any) -> dict[str, Any]:
    return {"epochs": 1, "lr": 1e-3, "batch_size": 32, "weights": "current"} | changes


def soup(**changes: Any) -> dict[str, Any]:
    return {"ingredients": 3, "steps": 3, "lr": 3e-3, "batch_size": 32} | changes


def test_controls_reach_exactly_the_sparsity_that_issp_reached(run: Run) -> None:
    settings = {"issp": soup(merge="union_kept"), "finetune": finetune()}
    reached = masks.kept(run(arm="issp", **settings).results["issp"].keep)
    total = masks.size(run(arm="issp", **settings).results["issp"].keep)
    assert reached > total - round(0.5 * total)
    for arm in ("magnitude", "random_mask"):
        control = run(arm=arm, **settings)
        assert masks.kept(control.results["control"].keep) == reached
        assert run(arm="issp", **settings).results["final"].sparsity == (
            control.results["final"].sparsity
        )


@pytest.mark.slow
@pytest.mark.parametrize("merge", ["vote_topk", "intersect_kept", "majority", "union_kept"])
def test_every_merge_can_be_repeated_over_rounds(run: Run, merge: str) -> None:
    settings = soup(merge=merge, rounds=3, lr=3e-2)
    result = run(arm="issp", issp=settings, finetune=finetune())
    first, last = result.results["essential"].keep, result.results["issp"].keep
    assert masks.contains(first, last)
    assert masks.sparsity(last) > masks.sparsity(first)


def test_auto_finds_a_level_and_prunes_to_it(run: Run) -> None:
    for tolerance, expected in ((0.99, 0.4), (0.0, None)):
        essential = {"levels": [0.2, 0.4], "tolerance": tolerance}
        result = run(arm="essential", sparsity="auto", essential=essential, finetune=finetune())
        picked = result.results["pick"].sparsity
        assert picked in (0.0, 0.2, 0.4)
        assert expected in (None, picked)
        assert result.results["final"].sparsity == pytest.approx(picked, abs=1e-4)


@pytest.mark.parametrize("weights", ["rewind", "ingredient_mean"])
def test_the_merged_weights_reach_the_recovery(run: Run, weights: str) -> None:
    result = run(arm="issp", issp=soup(weights=weights), finetune=finetune(lr=1e-12))
    merged = result.results["issp"].checkpoint.state
    for name, tensor in state_of(result).items():
        torch.testing.assert_close(tensor, merged[name], rtol=0, atol=1e-6)
    current = result.results["dense"].checkpoint.state["head.weight"]
    assert not torch.equal(merged["head.weight"], current)
    rewound = torch.equal(
        merged["head.weight"], result.results["pretrained"].checkpoint.state["head.weight"]
    )
    assert rewound == (weights == "rewind")


@pytest.mark.parametrize("weights", ["pretrained", "random"])
def test_the_recovery_can_start_from_untrained_weights(run: Run, weights: str) -> None:
    result = run(arm="issp", finetune=finetune(lr=1e-12, weights=weights))
    given = result.results["pretrained"].checkpoint.state["patch_embed.proj.weight"]
    found = state_of(result)["patch_embed.proj.weight"]
    # Random weights of the same seed are the pretrained ones of a model without a file.
    torch.testing.assert_close(found, given, rtol=0, atol=1e-6)


@pytest.mark.parametrize("removal", ["attention_mask", "zero", "mean"])
def test_every_removal_trains(run: Run, removal: str) -> None:
    result = run(arm="tickets", tickets={"removal": removal}, finetune=finetune())
    final = result.results["final"]
    assert final.macs == final.macs_dense
    assert final.test_ticket.loss != final.test.loss


def test_distillation_needs_nothing_but_the_dense_model(run: Run) -> None:
    result = run(arm="lotus", finetune=finetune(distill=0.5))
    plain = run(arm="lotus", finetune=finetune())
    assert not torch.equal(state_of(result)["head.bias"], state_of(plain)["head.bias"])


class Nothing(StageConfig):
    """No settings."""


def counted(log: list[str], name: str, **inputs: Any) -> Node[Any]:
    def function(cfg: StageConfig, ctx: Context, **given: Any) -> str:
        log.append(name)
        return f"{name}({','.join(map(str, given.values()))})"

    made: Stage[Any] = Stage(name, 1, function, str, "seed" in inputs)
    return Node(made, Nothing(), inputs.pop("seed", None), inputs)


def test_every_node_is_computed_once_and_gets_what_it_names() -> None:
    log: list[str] = []
    data = Source("data", "digest")
    root = counted(log, "root", data=data)
    pair = counted(log, "pair", both=(root, root), none=None, seed=7)
    direct = Direct({data: "DATA"})
    assert direct.get(pair) == "pair(('root(DATA)', 'root(DATA)'),None,7)"
    direct.get(root)
    direct.get(pair)
    assert log == ["root", "pair"]


def test_a_call_resolves_its_inputs_through_its_executor() -> None:
    node = counted([], "leaf", up=counted([], "root"))
    assert call(node, Context(), {}, lambda parent: parent.stage.name) == "leaf(root)"


@pytest.mark.parametrize(("usable", "threads"), [(0.5, 1), (1.5, 2), (64.0, 2)])
def test_a_trial_takes_no_more_threads_than_a_container_gives_it(
    tiny_trial: Callable[..., TrialConfig],
    monkeypatch: pytest.MonkeyPatch,
    usable: float,
    threads: int,
) -> None:
    monkeypatch.setattr("trials.graph.execute.usable_cores", lambda: usable)
    seen: list[int] = []

    def opened(*sections: Any) -> Any:
        seen.append(torch.get_num_threads())
        raise KeyboardInterrupt

    monkeypatch.setattr("trials.graph.execute.open_sources", opened)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(KeyboardInterrupt):
            run_trial(tiny_trial())
    finally:
        torch.set_num_threads(before)
    assert seen == [threads]


def test_the_package_offers_what_a_notebook_needs() -> None:
    assert {"TrialConfig", "run_trial", "pipeline", "STAGES", "Context"} <= set(trials.__all__)
    assert all(hasattr(trials, name) for name in trials.__all__)


def test_a_global_threshold_runs_from_end_to_end(run: Run) -> None:
    made = run(arm="lotus", tickets={"scope": "global"}, finetune=finetune(flip=True))
    counts = made.results["tickets"].test.sum(1)
    assert len(counts.unique()) > 1
    assert int(counts.sum()) == 12 * len(counts)
    final, even = made.results["final"], run(arm="lotus", finetune=finetune(flip=True))
    # Attention is quadratic in the tokens: a spread around the same mean costs more.
    assert even.results["final"].macs < final.macs < final.macs_dense


def test_online_tickets_train_on_crops_and_are_tested_like_static_ones(run: Run) -> None:
    settings = {"selection": "online", "weights": "adapted"}
    online = run(arm="tickets", tickets=settings, finetune=finetune(crop=1))
    static = run(arm="tickets", tickets={"weights": "adapted"}, finetune=finetune())
    assert torch.equal(online.results["tickets"].test, static.results["tickets"].test)
    assert not torch.equal(state_of(online)["head.bias"], state_of(static)["head.bias"])


def test_every_arm_trains_alike_on_the_other_images(run: Run) -> None:
    recipe = finetune(data="other_images")
    plain, ticketed = (run(arm=arm, finetune=recipe) for arm in ("dense", "tickets"))
    assert all(torch.equal(state_of(plain)[n], t) for n, t in state_of(ticketed).items())
    assert ticketed.results["final"].test_ticket is not None
    whole = run(arm="dense", finetune=finetune())
    assert not torch.equal(state_of(plain)["head.bias"], state_of(whole)["head.bias"])


def test_a_trial_starts_from_a_folder_that_timm_wrote(
    tiny_trial: Callable[..., TrialConfig], tmp_path: Path
) -> None:
    """A backbone of another size without a head, by the name of its folder; a linear probe."""
    trial = tiny_trial(arm="dense")
    kwargs = trial.model.kwargs | {"img_size": 12, "num_classes": 0}
    model = timm.create_model(trial.model.name, **kwargs)
    timm.models.save_for_hf(model, str(tmp_path / "m"), safe_serialization=True)
    given = {"name": f"local-dir:{tmp_path}/m", "kwargs": {"img_size": 8}}
    dense = trial.dense.model_copy(update={"train": "head", "epochs": 1})
    finetune = trial.finetune.model_copy(update={"weights": "current", "epochs": 1})
    update = {"model": ModelConfig.model_validate(given), "dense": dense, "finetune": finetune}
    result = run_trial(trial.model_copy(update=update)).results
    start, probe = (result[name].checkpoint.state for name in ("pretrained", "dense"))
    body = {n for n in start if torch.equal(start[n], probe[n])}
    assert start.keys() - body == {"head.weight", "head.bias"}
    assert torch.equal(start["blocks.0.attn.qkv.weight"], model.blocks[0].attn.qkv.weight)
    assert start["pos_embed"].shape != model.pos_embed.shape
    assert result["pretrained"].checkpoint.arch.name == trial.model.name
