"""Names of runs, and the axes as metrics."""

from typing import Any

from orchestrator.planning.plan import plan
from orchestrator.storage.keys import key_of
from orchestrator.worker.labels import axis_metrics, stage_run_name

SEARCH = (
    "search: {arm: [dense, tickets, essential, issp, lotus], seed: [0, 1], sparsity: [0.3, 0.5], "
    "issp.merge: [vote_topk, union_kept], issp.steps: [2, 3]}\n"
)


def test_no_two_runs_of_a_sweep_have_the_same_name(tiny: Any) -> None:
    planned = plan(tiny(SEARCH))
    names = [trial.name for trial in planned.trials]
    names += [stage_run_name(node, node.stage.name) for node in planned.shared.values()]
    assert len(planned.trials) > 20
    assert len(planned.shared) > 10
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= 250


def test_a_stage_says_that_it_is_one_and_ends_with_its_key(tiny: Any) -> None:
    (trial,) = plan(tiny()).trials
    dense = trial.graph.dense
    assert stage_run_name(dense, "dense") == f"stage-dense-seed0-{key_of(dense)[:8]}"


def test_axes_that_are_numbers_are_metrics_and_nothing_else_is(tiny: Any) -> None:
    for trial in plan(tiny(SEARCH)).trials:
        found = axis_metrics(trial, {})
        wanted = {"seed", "sparsity", "patch_drop", "mask_data_fraction", "issp.steps"}
        assert found == {name: trial.axes[name] for name in wanted & trial.axes.keys()}
        assert ("sparsity" in found) == ("sparsity" in trial.config.used_axes)


def test_a_sparsity_that_a_trial_finds_is_a_metric_once_it_is_found(tiny: Any) -> None:
    (trial,) = plan(tiny("search: {sparsity: [auto]}\n")).trials
    assert "sparsity" not in axis_metrics(trial, {})

    class Pick:
        sparsity = 0.41

    assert axis_metrics(trial, {"pick": Pick()})["sparsity"] == 0.41
